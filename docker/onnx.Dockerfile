# The exported index alone, without torch: docker build -f docker/onnx.Dockerfile -t hm4sr-onnx .
# What it serves is a folder that hm4sr export has written, mounted at /served.
FROM python:3.11-slim AS build
COPY . /source
WORKDIR /source
RUN python -m venv /opt/hm4sr && \
    /opt/hm4sr/bin/pip install --no-cache-dir --constraint constraints.txt \
        numpy onnxruntime fastapi uvicorn && \
    /opt/hm4sr/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim
RUN useradd --uid 1000 --create-home hm4sr
COPY --from=build /opt/hm4sr /opt/hm4sr
ENV PATH=/opt/hm4sr/bin:$PATH PYTHONUNBUFFERED=1
USER 1000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health')"]
ENTRYPOINT ["python", "-m", "recbole_hm4sr.serve.onnx_only", "/served", "--host=0.0.0.0", "--port=8000"]
CMD ["--workers=2"]
