-- Whether a turn is not part of its conversation now: neither the turn that the task stands at nor one before that.
ALTER TABLE turns ADD COLUMN left_behind INTEGER NOT NULL DEFAULT 0;
WITH RECURSIVE line (task, turn, parent) AS (
    SELECT turns.task, turns.turn, turns.parent FROM tasks
    JOIN turns ON turns.task = tasks.task AND turns.turn_id = coalesce(tasks.open_turn, tasks.head)
    UNION ALL
    SELECT turns.task, turns.turn, turns.parent FROM line
    JOIN turns ON turns.task = line.task AND turns.turn_id = line.parent AND turns.turn < line.turn
)
UPDATE turns SET left_behind = 1 WHERE turn NOT IN (SELECT turn FROM line);

-- Which memories a turn mentioned or forgot: an index over what their bodies say. And, as the bodies say too, whether
-- nothing but turns that were left mentions a memory.
CREATE TABLE memory_turns (
    task_id TEXT    NOT NULL,
    turn_id TEXT    NOT NULL,
    memory  INTEGER NOT NULL,
    PRIMARY KEY (task_id, turn_id, memory)
) WITHOUT ROWID;
ALTER TABLE memories ADD COLUMN left_behind INTEGER NOT NULL DEFAULT 0;

-- A slot is read whole where a turn was left: what is not current may be again.
DROP INDEX memories_by_slot;
CREATE INDEX memories_by_slot ON memories (slot, current) WHERE slot IS NOT NULL;
