-- What is too large for the log: pictures, documents, outputs in full. Each content is stored once, under its SHA-256.
CREATE TABLE blobs (
    blob   INTEGER PRIMARY KEY,
    sha256 TEXT    NOT NULL UNIQUE,
    body   BLOB    NOT NULL,
    crc    INTEGER NOT NULL
);

-- Which tasks refer to it. It goes with the last of them.
CREATE TABLE blob_uses (
    task INTEGER NOT NULL,
    blob INTEGER NOT NULL,
    PRIMARY KEY (task, blob)
) WITHOUT ROWID;
CREATE INDEX uses_by_blob ON blob_uses (blob);
