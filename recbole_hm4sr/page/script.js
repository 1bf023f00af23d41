// Tooltips: any element with data-tip says it when pointed at or touched. Text only, never HTML.
(() => {
  const box = document.getElementById("tip");
  const hide = () => { box.hidden = true; };
  const show = (event) => {
    const spot = event.target.closest ? event.target.closest("[data-tip]") : null;
    if (!spot) { hide(); return; }
    box.textContent = spot.getAttribute("data-tip");
    box.hidden = false;
    const margin = 12;
    const left = Math.min(event.clientX + margin, window.innerWidth - box.offsetWidth - margin);
    const below = event.clientY + margin + box.offsetHeight < window.innerHeight;
    const top = below ? event.clientY + margin : event.clientY - margin - box.offsetHeight;
    box.style.left = Math.max(margin, left) + "px";
    box.style.top = Math.max(margin, top) + "px";
  };
  document.addEventListener("pointermove", show);
  document.addEventListener("pointerdown", show);
  document.addEventListener("pointerleave", hide);
  document.addEventListener("scroll", hide, { passive: true, capture: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") { hide(); } });
})();
