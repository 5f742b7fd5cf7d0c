-- What is too large for a fact, such as the whole of a tool's output; known by its content within its task.
CREATE TABLE blobs (
    task   INTEGER NOT NULL,
    sha256 TEXT    NOT NULL,
    body   BLOB    NOT NULL,
    crc    INTEGER NOT NULL
);
CREATE UNIQUE INDEX blobs_by_content ON blobs (task, sha256);
