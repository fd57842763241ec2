-- name: load_functions
-- Every version of every function, in the catalog's order of names.
SELECT account, region, name, version, document
FROM function_versions
ORDER BY account, region, name;

-- name: insert_function
-- A version that must not exist yet.
INSERT INTO function_versions (account, region, name, version, revision_id, document)
VALUES (:account, :region, :name, :version, :revision_id, :document);

-- name: update_function
-- A version that must still be at the expected revision.
UPDATE function_versions
SET revision_id = :revision_id, document = :document
WHERE account = :account AND region = :region AND name = :name AND version = :version
    AND revision_id = :expected_revision;

-- name: rewrite_function
-- The same record, written in another way.
UPDATE function_versions
SET document = :document
WHERE account = :account AND region = :region AND name = :name AND version = :version;

-- name: delete_function
-- A function with all its versions.
DELETE FROM function_versions
WHERE account = :account AND region = :region AND name = :name;

-- name: load_layer_versions
-- Every layer version that is not deleted.
SELECT account, region, name, number, document
FROM layer_versions
ORDER BY account, region, name, number;

-- name: advance_layer
-- Take the next number of a layer, the first one if it is new.
INSERT INTO layers (account, region, name, last_number)
VALUES (:account, :region, :name, 1)
ON CONFLICT (account, region, name) DO UPDATE SET last_number = last_number + 1;

-- name: last_layer_number
-- The number that was taken last.
SELECT last_number FROM layers
WHERE account = :account AND region = :region AND name = :name;

-- name: insert_layer_version
-- A new layer version, under the number just taken.
INSERT INTO layer_versions (account, region, name, number, document)
VALUES (:account, :region, :name, :number, :document);

-- name: delete_layer_version
-- One layer version, if it is there.
DELETE FROM layer_versions
WHERE account = :account AND region = :region AND name = :name AND number = :number;
