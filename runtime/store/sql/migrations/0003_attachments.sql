-- What is attached to functions and layer versions, and what has a name of its own in an account.
-- One table for all kinds: a new kind needs no migration. `holder` tells what kind of thing `owner` names.

CREATE TABLE attachments (
    account     TEXT NOT NULL,
    region      TEXT NOT NULL,
    holder      TEXT NOT NULL,
    owner       TEXT NOT NULL,
    kind        TEXT NOT NULL,
    qualifier   TEXT NOT NULL,
    revision_id TEXT NOT NULL,
    document    TEXT NOT NULL,
    PRIMARY KEY (account, region, holder, owner, kind, qualifier)
);
