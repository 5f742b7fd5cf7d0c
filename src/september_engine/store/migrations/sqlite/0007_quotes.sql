-- Which tasks have copies of which memories in their facts, so that erasing a memory need not read all facts.
CREATE TABLE IF NOT EXISTS quotes (
    memory_id TEXT    NOT NULL,
    task      INTEGER NOT NULL,
    PRIMARY KEY (memory_id, task)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS quotes_by_task ON quotes (task);
INSERT OR IGNORE INTO quotes
SELECT json_extract(item.value, '$.id'), facts.task
FROM facts, json_each(
    CASE
        WHEN substr(facts.body, 1, 18) = CAST('{"type":"recalled"' AS BLOB) AND json_valid(CAST(facts.body AS TEXT))
        THEN CAST(facts.body AS TEXT) ELSE '{"items":[]}'
    END, '$.items'
) AS item;
