-- What is remembered for good, across tasks. `words` are the stems to search it by.
CREATE TABLE memories (
    memory   INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT    NOT NULL UNIQUE,
    kind     TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    task_id  TEXT,
    position INTEGER,
    speaker  TEXT,
    slot     TEXT,
    current  INTEGER NOT NULL,
    words    TEXT    NOT NULL,
    body     BLOB    NOT NULL,
    crc      INTEGER NOT NULL
);
CREATE INDEX memories_by_place ON memories (task_id, position) WHERE position IS NOT NULL;
CREATE INDEX memories_by_time ON memories (at);
CREATE INDEX memories_by_speaker ON memories (speaker) WHERE kind <> 'episode';
CREATE INDEX memories_by_slot ON memories (slot) WHERE slot IS NOT NULL AND current = 1;

-- Stems, made by us and never changed by SQLite's tokenizer: everything that is not ASCII is part of a word for it.
-- `kind` is there so that FTS5 can leave other kinds out by itself. The text is kept in `memories` alone.
CREATE VIRTUAL TABLE memory_words USING fts5 (
    words, kind, tokenize = 'ascii', content = 'memories', content_rowid = 'memory'
);
CREATE VIRTUAL TABLE memory_terms USING fts5vocab ('memory_words', 'col');

-- One row: how many memories there are, and how many words they have together.
CREATE TABLE memory_totals (memories INTEGER NOT NULL, words INTEGER NOT NULL);
INSERT INTO memory_totals VALUES (0, 0);

CREATE TABLE memory_names (name TEXT PRIMARY KEY) WITHOUT ROWID;

-- Little-endian float32. `number` is the cursor of those who keep the vectors in memory.
CREATE TABLE memory_vectors (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    model  TEXT    NOT NULL,
    memory INTEGER NOT NULL,
    vector BLOB    NOT NULL,
    crc    INTEGER NOT NULL
);
CREATE UNIQUE INDEX memory_vectors_by_memory ON memory_vectors (memory, model);
CREATE INDEX memory_vectors_by_number ON memory_vectors (model, number);
