-- Functions by version, layers by version. Key columns are for conditions and order;
-- the document holds the whole record, as runtime/store/codec.py writes it.

CREATE TABLE function_versions (
    account     TEXT NOT NULL,
    region      TEXT NOT NULL,
    name        TEXT NOT NULL,
    version     TEXT NOT NULL,
    revision_id TEXT NOT NULL,
    document    TEXT NOT NULL,
    PRIMARY KEY (account, region, name, version)
);

-- Outlives its versions: numbers are never given twice, even after all of them are deleted.
CREATE TABLE layers (
    account     TEXT NOT NULL,
    region      TEXT NOT NULL,
    name        TEXT NOT NULL,
    last_number INTEGER NOT NULL CHECK (last_number > 0),
    PRIMARY KEY (account, region, name)
);

CREATE TABLE layer_versions (
    account  TEXT NOT NULL,
    region   TEXT NOT NULL,
    name     TEXT NOT NULL,
    number   INTEGER NOT NULL CHECK (number > 0),
    document TEXT NOT NULL,
    PRIMARY KEY (account, region, name, number),
    FOREIGN KEY (account, region, name) REFERENCES layers (account, region, name)
);
