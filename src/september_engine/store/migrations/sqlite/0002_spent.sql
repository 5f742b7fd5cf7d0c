-- What all turns of a task have spent, so that a turn can begin without reading them. NULL is a cost that is unknown.
ALTER TABLE tasks ADD COLUMN spent_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN spent_usd REAL DEFAULT 0;
