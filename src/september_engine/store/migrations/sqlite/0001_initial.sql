-- A task is an index over its facts; `task` is its key everywhere else, because ids may be 512 bytes long.
CREATE TABLE tasks (
    task          INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id       BLOB    NOT NULL UNIQUE,
    epoch         INTEGER NOT NULL,
    last_ts       INTEGER NOT NULL,
    last_seq      INTEGER NOT NULL,
    head          TEXT,
    open_turn     TEXT,
    waiting_since INTEGER,
    prefix        TEXT,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    trimmed_to    INTEGER NOT NULL,
    crc           INTEGER NOT NULL
);
CREATE INDEX open_tasks ON tasks (task) WHERE open_turn IS NOT NULL;

-- `turn` grows as turns start, so a parent's is always smaller. The first and last numbers bound the turn's events and
-- facts; the last ones are final once it has ended.
CREATE TABLE turns (
    turn       INTEGER PRIMARY KEY AUTOINCREMENT,
    task       INTEGER NOT NULL,
    turn_id    TEXT    NOT NULL,
    parent     TEXT,
    message_id TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    first_ts   INTEGER NOT NULL,
    last_ts    INTEGER NOT NULL,
    first_seq  INTEGER NOT NULL,
    last_seq   INTEGER NOT NULL,
    trimmed    INTEGER NOT NULL,
    crc        INTEGER NOT NULL
);
CREATE UNIQUE INDEX turns_by_id ON turns (task, turn_id);
CREATE INDEX turns_to_trim ON turns (ended_at) WHERE trimmed = 0 AND ended_at IS NOT NULL;

-- What happened, for good. One turn's facts lie together.
CREATE TABLE facts (
    turn       INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    task       INTEGER NOT NULL,
    ts         INTEGER NOT NULL,
    message_id TEXT,
    body       BLOB    NOT NULL,
    crc        INTEGER NOT NULL,
    PRIMARY KEY (turn, seq)
) WITHOUT ROWID;
CREATE INDEX facts_by_message ON facts (task, message_id) WHERE message_id IS NOT NULL;

-- What clients see, until it is trimmed. `ts` is the cursor.
CREATE TABLE events (
    task INTEGER NOT NULL,
    ts   INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    type TEXT    NOT NULL,
    body BLOB    NOT NULL,
    crc  INTEGER NOT NULL,
    PRIMARY KEY (task, ts)
) WITHOUT ROWID;
