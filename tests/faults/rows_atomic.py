"""Broken ``.inter`` and ``.item`` files."""

from faultkit import CHECK, FIRST_TIME, TRAIN, Fault, put, remove, replace

INTER, ITEM = "data/toy/toy.inter", "data/toy/toy.item"
HEADER = "user_id:token\titem_id:token\ttimestamp:float"
ROW = f"u0\ti0\t{FIRST_TIME}"


def inter(name, says, spoil, command=TRAIN, **more):
    return Fault(f"inter: {name}", [*command, *more.get("flags", [])], says, spoil)


def time(name, says, value, **more):
    """The first line with another time."""
    return inter(f"time {name}", says, replace("toy.inter", FIRST_TIME, value), **more)


def header(name, says, text):
    return inter(f"header {name}", says, replace("toy.inter", HEADER, text))


def whole(name, says, content):
    return inter(name, says, put(INTER, content))


def rows(*lines, head=HEADER):
    return "\n".join([head, *lines]) + "\n"


def truncated(place):
    path = place / INTER
    # In the middle of a line, as a copy that stopped leaves it.
    path.write_bytes(path.read_bytes()[:100])


SOUND = [f"u{user}\ti{n}\t{1_704_067_200 + n}" for user in range(3) for n in range(4)]

ALL = "{inter: [user_id, item_id, timestamp, r, v]}"

FAULTS = [
    inter("missing", r"toy\.inter does not exist", remove(INTER)),
    inter("a folder", "cannot read the file .*: Is a directory",
          lambda p: ((p / INTER).unlink(), (p / INTER).mkdir())),
    whole("empty", "must start with a header such as .* got an empty file", b""),
    whole("only blanks", "got an empty file", b"  \n"),
    whole("only a header", "must have at least one line after its header", HEADER + "\n"),
    inter("truncated", r"toy\.inter, line \d+ must have 3 columns", truncated),
    whole("binary", "must be UTF-8 text, but is no text", bytes(range(256)) * 8),
    whole("gzip", "must be UTF-8 text, but is a gzip file: unpack it",
          b"\x1f\x8b\x08\x00" + bytes(range(128, 255)) * 9),
    whole("UTF-16", "but is UTF-16 text: save it as UTF-8", rows(*SOUND).encode("utf-16")),
    whole("UTF-16 without a mark", "but is UTF-16 text without a byte-order mark",
          rows(*SOUND).encode("utf-16-le")),
    whole("UTF-32", "but is UTF-32 text: save it as UTF-8", rows(*SOUND).encode("utf-32")),
    whole("zip", "but is a zip archive, as .xlsx", b"PK\x03\x04\x14\x00" + bytes(99)),
    whole("Latin-1", "line 2 must be UTF-8", rows("J\xf6rg\ti0\t1", *SOUND).encode("latin-1")),
    whole("a second mark", "line 1 must|column", "\ufeff\ufeff" + rows(*SOUND)),
    whole("carriage returns only", "line after its header|line 1 must",
          "\r".join([HEADER, *SOUND])),
    whole("a zero byte", "line 3 must be text, got a zero byte", rows(SOUND[0], "u\0\ti\t5")),
    whole("zero bytes at the end", "zero byte", rows(*SOUND).encode() + b"\0" * 512),
    whole("an HTML page", "line 1 must be a header", "<html>\n<body>404</body>\n</html>\n"),
    whole("JSON", "line 1 must be a header", '{"user_id": 1, "item_id": 2}\n'),
    header("without kinds", "line 1 must be a header of name:kind", "user_id\titem_id\ttimestamp"),
    header("by commas", "separated by tabs, .*; this line has commas", HEADER.replace("\t", ",")),
    header("with an unknown kind", "line 1 must be .* got 'timestamp:int'",
           HEADER.replace("float", "int")),
    header("with a kind in capitals", "got 'user_id:Token'", HEADER.replace("d:token", "d:Token")),
    header("without a name", "got ':token'", HEADER.replace("item_id", "")),
    header("with a column twice", "must name a column once, got item_id",
           HEADER.replace("user_id", "item_id")),
    header("without users", "must have the column 'user_id'", HEADER.replace("user_id", "user")),
    header("without times", "must have the column 'timestamp'",
           HEADER.replace("timestamp", "time")),
    header("with users as numbers", "line 2: user_id must be a number, got 'u0'",
           HEADER.replace("user_id:token", "user_id:float")),
    header("with items as a sequence", "'item_id' must be token, got token_seq",
           HEADER.replace("item_id:token", "item_id:token_seq")),
    header("with times as tokens", "'timestamp' must be float, got token",
           HEADER.replace("timestamp:float", "timestamp:token")),
    header("with times as a sequence", "'timestamp' must be float, got float_seq",
           HEADER.replace("timestamp:float", "timestamp:float_seq")),
    # Found by make fuzz: it broke the sentence of another fault into two lines.
    header("with a control character", r"got 'ti\\x1eme:float'",
           HEADER.replace("timestamp", "ti\x1eme")),
    header("with a blank after a tab", "line 1 must|column", HEADER.replace("\t", "\t ")),
    inter("short row", "line 2 must have 3 columns .* got 2",
          replace("toy.inter", ROW, f"u0\t{FIRST_TIME}")),
    inter("long row", "line 2 must have 3 columns .* got 4",
          replace("toy.inter", ROW, ROW + "\t5")),
    inter("blank line", "line 2 must not be blank", replace("toy.inter", ROW, "")),
    inter("row by blanks", "line 2 must have 3 columns", replace("toy.inter", ROW, "u0 i0 5")),
    inter("no user", "line 2: user_id must not be empty",
          replace("toy.inter", ROW, ROW[2:])),
    inter("no item", "line 2: item_id must not be empty",
          replace("toy.inter", ROW, ROW.replace("i0", ""))),
    time("NaN", "line 2: timestamp must be a finite number, got nan", "nan"),
    time("empty", "line 2: timestamp must be a finite number", ""),
    time("infinite", "line 2: timestamp must be a finite number, got inf", "inf"),
    time("beyond float64", "line 2: timestamp must be a finite number", "1e999"),
    time("negative", "line 2: timestamp must be 0 or more", "-5"),
    time("with a fraction", "line 2: timestamp must be a whole number", "1704067200.5"),
    time("a word", "line 2: timestamp must be a number, got 'yesterday'", "yesterday"),
    time("a date", "line 2: timestamp must be a number", "2024-01-01"),
    time("with commas", "line 2: timestamp must be a number", "1,704,067,200"),
    time("hexadecimal", "line 2: timestamp must be a number", "0x65920080"),
    time("with an underscore", "line 2: timestamp must be a number", "1_704_067_200"),
    time("in nanoseconds", "looks like microseconds or nanoseconds", FIRST_TIME + "0" * 9),
    time("in milliseconds among seconds", "must have one unit", FIRST_TIME + "000"),
    time("too large for int64", "looks like microseconds or nanoseconds", "1e30"),
    whole("all in milliseconds", "set timestamp_unit: ms",
          rows(*(line + "000" for line in SOUND))),
    inter("seconds declared milliseconds", "set timestamp_unit: s", lambda p: None,
          flags=["--timestamp_unit=ms"]),
    whole("too short histories", "at least one user needs 4 interactions",
          rows("u0\ti0\t5", "u0\ti1\t6", "u1\ti0\t5")),
    inter("all filtered away", "at least one interaction must pass the filters", lambda p: None,
          flags=['--user_inter_num_interval="[1000,inf)"']),
    inter("unread column asked for", "must have the column 'rating'", lambda p: None,
          flags=["--load_col={inter: [user_id, item_id, timestamp, rating], item: [item_id]}"]),
    *(
        Fault(f"inter: another column, {name}", [*TRAIN, f"--load_col={ALL}"], says,
              put(INTER, rows(*(f"{line}\t{value}\t1 {value or 2}" for line in SOUND),
                              head=f"{HEADER}\tr:float\tv:float_seq")))
        for name, value, says in (
            ("infinite", "inf", r"line 2: r must be finite, got 'inf' \(12 such lines\)"),
            ("beyond float64", "1e999", "line 2: r must be finite"),
            ("all gaps", "", "r must hold a number in at least one line"),
        )
    ),
    Fault("inter: a sequence of another column with NaN", [*TRAIN, f"--load_col={ALL}"],
          "line 3: v must be finite, got '1 nan'",
          put(INTER, rows(f"{SOUND[0]}\t1\t1 2", f"{SOUND[1]}\t1\t1 nan",
                          head=f"{HEADER}\tr:float\tv:float_seq"))),
    Fault("item: a token twice", TRAIN, "item_id must be on one line each, got 'i1' in lines 2",
          replace("toy.item", "i0\t", "i1\t")),
    Fault("item: an empty token", TRAIN, "line 2: item_id must not be empty",
          replace("toy.item", "i0\t", "\t")),
    Fault("item: missing", TRAIN, r"toy\.item does not exist", remove(ITEM)),
    Fault("item: no column of categories", TRAIN, "must have the column 'categories'",
          replace("toy.item", "categories:", "kinds:")),
    Fault("item: categories as numbers", TRAIN, "must be token_seq|number",
          replace("toy.item", "categories:token_seq", "categories:float")),
    Fault("item: short row", TRAIN, "line 2 must have 3 columns",
          replace("toy.item", "i0\tTitle i0\t", "i0\t")),
    Fault("item: not UTF-8", TRAIN, "line 2 must be UTF-8",
          put(ITEM, b"item_id:token\tcategories:token_seq\ni0\t\xff\xfe\n")),
    Fault("item: empty", TRAIN, "got an empty file", put(ITEM, b"")),
    Fault("check: a time of NaN", CHECK, "timestamp must be a finite number",
          replace("toy.inter", FIRST_TIME, "nan")),
    Fault("check: binary", CHECK, "is no text", put(INTER, bytes(range(256)))),
    Fault("check: a zero byte", CHECK, "zero byte", put(INTER, rows("u\0\ti0\t5"))),
    Fault("check: short row", CHECK, "line 2 must have 3 columns",
          replace("toy.inter", ROW, "u0\ti0")),
    Fault("check: infinite time", CHECK, "finite", replace("toy.inter", FIRST_TIME, "inf")),
]  # fmt: skip
