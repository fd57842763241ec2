-- The numbers of published versions, and the names that lead to them.

-- Outlives the versions of its function, not the function: numbers are given once, and a function made anew counts
-- from 1. A function without published versions has no row.
CREATE TABLE version_numbers (
    account     TEXT NOT NULL,
    region      TEXT NOT NULL,
    name        TEXT NOT NULL,
    last_number INTEGER NOT NULL CHECK (last_number > 0),
    PRIMARY KEY (account, region, name)
);

INSERT INTO version_numbers (account, region, name, last_number)
SELECT account, region, name, max(CAST(version AS INTEGER))
FROM function_versions
WHERE version <> '$LATEST'
GROUP BY account, region, name;

-- An alias cannot lead to a version that does not exist.
CREATE TABLE aliases (
    account            TEXT NOT NULL,
    region             TEXT NOT NULL,
    function           TEXT NOT NULL,
    name               TEXT NOT NULL,
    version            TEXT NOT NULL,
    additional_version TEXT,
    revision_id        TEXT NOT NULL,
    document           TEXT NOT NULL,
    PRIMARY KEY (account, region, function, name),
    FOREIGN KEY (account, region, function, version)
        REFERENCES function_versions (account, region, name, version),
    FOREIGN KEY (account, region, function, additional_version)
        REFERENCES function_versions (account, region, name, version)
);
