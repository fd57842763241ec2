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

-- name: delete_function
-- A function with all its versions.
DELETE FROM function_versions
WHERE account = :account AND region = :region AND name = :name;

-- name: delete_version
-- One published version, if it is there.
DELETE FROM function_versions
WHERE account = :account AND region = :region AND name = :name AND version = :version
    AND version <> '$LATEST';

-- name: latest_revision
-- The revision of `$LATEST`.
SELECT revision_id FROM function_versions
WHERE account = :account AND region = :region AND name = :name AND version = '$LATEST';

-- name: last_version
-- The version that was published last, unless it was deleted.
SELECT document
FROM version_numbers JOIN function_versions USING (account, region, name)
WHERE account = :account AND region = :region AND name = :name AND version = CAST(last_number AS TEXT);

-- name: advance_version
-- Take the next number of a function, the first one if it has none.
INSERT INTO version_numbers (account, region, name, last_number)
VALUES (:account, :region, :name, 1)
ON CONFLICT (account, region, name) DO UPDATE SET last_number = last_number + 1;

-- name: last_version_number
-- The number that was taken last.
SELECT last_number FROM version_numbers
WHERE account = :account AND region = :region AND name = :name;

-- name: forget_version_numbers
-- A function that is gone; one of that name begins at 1.
DELETE FROM version_numbers
WHERE account = :account AND region = :region AND name = :name;

-- name: load_aliases
-- Every alias.
SELECT account, region, function, name, document
FROM aliases
ORDER BY account, region, function, name;

-- name: insert_alias
-- An alias that must not exist yet.
INSERT INTO aliases (account, region, function, name, version, additional_version, revision_id, document)
VALUES (:account, :region, :function, :name, :version, :additional_version, :revision_id, :document);

-- name: update_alias
-- An alias that must still be at the expected revision.
UPDATE aliases
SET version = :version, additional_version = :additional_version,
    revision_id = :revision_id, document = :document
WHERE account = :account AND region = :region AND function = :function AND name = :name
    AND revision_id = :expected_revision;

-- name: delete_alias
-- One alias, if it is there.
DELETE FROM aliases
WHERE account = :account AND region = :region AND function = :function AND name = :name;

-- name: delete_aliases
-- All aliases of a function.
DELETE FROM aliases
WHERE account = :account AND region = :region AND function = :name;

-- name: referring_aliases
-- The aliases that lead to a version.
SELECT name FROM aliases
WHERE account = :account AND region = :region AND function = :name
    AND (version = :version OR additional_version = :version)
ORDER BY name;

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

-- name: load_attachments
-- Every attachment, in the catalog's order.
SELECT account, region, owner, kind, qualifier, document
FROM attachments
ORDER BY account, region, owner, qualifier;

-- name: function_exists
-- Whether there is a function, version or alias to attach something to.
SELECT EXISTS (
    SELECT 1 FROM function_versions
    WHERE account = :account AND region = :region AND name = :owner
        AND version = CASE :qualifier WHEN '' THEN '$LATEST' ELSE :qualifier END
) OR EXISTS (
    SELECT 1 FROM aliases
    WHERE account = :account AND region = :region AND function = :owner AND name = :qualifier
);

-- name: layer_version_exists
-- Whether there is a layer version to attach something to.
SELECT EXISTS (
    SELECT 1 FROM layer_versions
    WHERE account = :account AND region = :region AND name = :owner AND number = CAST(:qualifier AS INTEGER)
);

-- name: insert_attachment
-- An attachment that must not exist yet.
INSERT INTO attachments (account, region, holder, owner, kind, qualifier, revision_id, document)
VALUES (:account, :region, :holder, :owner, :kind, :qualifier, :revision_id, :document);

-- name: update_attachment
-- An attachment that must still be at the expected revision.
UPDATE attachments
SET revision_id = :revision_id, document = :document
WHERE account = :account AND region = :region AND holder = :holder AND owner = :owner
    AND kind = :kind AND qualifier = :qualifier AND revision_id = :expected_revision;

-- name: put_attachment
-- An attachment, whatever was there before.
INSERT INTO attachments (account, region, holder, owner, kind, qualifier, revision_id, document)
VALUES (:account, :region, :holder, :owner, :kind, :qualifier, :revision_id, :document)
ON CONFLICT (account, region, holder, owner, kind, qualifier)
DO UPDATE SET revision_id = :revision_id, document = :document;

-- name: attachment_revision
-- The revision that an attachment is at.
SELECT revision_id FROM attachments
WHERE account = :account AND region = :region AND holder = :holder AND owner = :owner
    AND kind = :kind AND qualifier = :qualifier;

-- name: delete_attachment
-- One attachment.
DELETE FROM attachments
WHERE account = :account AND region = :region AND holder = :holder AND owner = :owner
    AND kind = :kind AND qualifier = :qualifier;

-- name: delete_function_attachments
-- Everything attached to a function, its versions and aliases.
DELETE FROM attachments
WHERE account = :account AND region = :region AND holder = 'function' AND owner = :name;

-- name: delete_qualifier_attachments
-- Everything attached to a version or an alias.
DELETE FROM attachments
WHERE account = :account AND region = :region AND holder = 'function' AND owner = :name
    AND qualifier = :qualifier;

-- name: delete_layer_version_attachments
-- Everything attached to a layer version.
DELETE FROM attachments
WHERE account = :account AND region = :region AND holder = 'layer version' AND owner = :name
    AND qualifier = CAST(:number AS TEXT);
