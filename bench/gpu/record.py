"""What a GPU measurement leaves: JSON Lines and a table, written again after each answer."""

import json
import os

from table import table


def cell_of(row):
    """What engines are compared in."""
    return tuple(row[key] for key in ("device", "model", "batch", "precision"))


def merge_rows(earlier, rows):
    """Earlier rows, less the cells that were measured again, and ours. A cell that this run did not finish
    leaves what an earlier one did finish."""
    begun = {cell_of(row) for row in rows}
    finished = {cell_of(row) for row in rows if "unfinished" not in row}
    return [row for row in earlier if cell_of(row) not in (begun if "unfinished" in row else finished)] + rows


def write_whole(path, text):
    """In one step, so that a run that is killed leaves the file as it was before or as it is now."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)


class Record:
    def __init__(self, out, facts, append):
        self.out, self.facts = out, facts
        self.rows, self.current = [], []  # of the cells that have ended, and of the one that is measured now
        path = out.with_suffix(".jsonl")
        self.earlier = [json.loads(line) for line in path.read_text().splitlines()] if append and path.exists() else []

    def now(self, rows):
        """What the cell that is measured now has to show so far."""
        self.current = rows
        if self.rows or self.current:
            self.write()

    def write(self):
        rows = merge_rows(self.earlier, [row | self.facts for row in self.rows + self.current])
        self.out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.out.with_suffix(".jsonl"), "".join(json.dumps(row) + "\n" for row in rows))
        write_whole(self.out.with_suffix(".md"), table(rows))

    def end_cell(self):
        for row in self.current:
            print(json.dumps(row | {"device": self.facts["device"]}), flush=True)
        self.rows, self.current = self.rows + self.current, []
