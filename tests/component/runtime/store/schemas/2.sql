BEGIN TRANSACTION;
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
INSERT INTO "aliases" VALUES('123456789012','us-east-1','f','live','1','2','a1','{"format":1,"record":{"scope":{"account":"123456789012","region":"us-east-1"},"function":"f","name":"live","version":"1","description":"a","weights":{"2":0.25},"environment":{"STAGE":"alias"},"revision_id":"a1"}}');
CREATE TABLE function_versions (
    account     TEXT NOT NULL,
    region      TEXT NOT NULL,
    name        TEXT NOT NULL,
    version     TEXT NOT NULL,
    revision_id TEXT NOT NULL,
    document    TEXT NOT NULL,
    PRIMARY KEY (account, region, name, version)
);
INSERT INTO "function_versions" VALUES('123456789012','us-east-1','f','$LATEST','r1','{"format":1,"record":{"scope":{"account":"123456789012","region":"us-east-1"},"name":"f","version":"$LATEST","config":{"role":"arn:aws:iam::123456789012:role/r","runtime":"python3.11","handler":"app.handler","description":"d","timeout":5,"memory_size":256,"ephemeral_storage":1024,"environment":{"STAGE":"old"},"layers":[{"arn":"arn:aws:lambda:us-east-1:123456789012:layer:words:1","code":{"digest":"0000000000000000000000000000000000000000000000000000000000000002","size":120,"unzipped_size":240}}],"architecture":"arm64","package_type":"Zip","tracing_mode":"Active","logging":{"log_format":"JSON","application_log_level":"DEBUG","system_log_level":"WARN","log_group":"/my/group"},"declared":{"KMSKeyArn":"arn:k"}},"code":{"digest":"0000000000000000000000000000000000000000000000000000000000000001","size":120,"unzipped_size":240},"revision_id":"r1","last_modified":"2024-01-01T00:00:00.000+0000","state":"Active","state_reason":null,"state_reason_code":null,"last_update_status":"Successful","last_update_status_reason":null,"last_update_status_reason_code":null,"tags":{"team":"a"},"source_description":""}}');
INSERT INTO "function_versions" VALUES('123456789012','us-east-1','f','1','v1','{"format":1,"record":{"scope":{"account":"123456789012","region":"us-east-1"},"name":"f","version":"1","config":{"role":"arn:aws:iam::123456789012:role/r","runtime":"python3.11","handler":"app.handler","description":"d","timeout":5,"memory_size":256,"ephemeral_storage":1024,"environment":{"STAGE":"old"},"layers":[{"arn":"arn:aws:lambda:us-east-1:123456789012:layer:words:1","code":{"digest":"0000000000000000000000000000000000000000000000000000000000000002","size":120,"unzipped_size":240}}],"architecture":"arm64","package_type":"Zip","tracing_mode":"Active","logging":{"log_format":"JSON","application_log_level":"DEBUG","system_log_level":"WARN","log_group":"/my/group"},"declared":{"KMSKeyArn":"arn:k"}},"code":{"digest":"0000000000000000000000000000000000000000000000000000000000000001","size":120,"unzipped_size":240},"revision_id":"v1","last_modified":"2024-01-01T00:00:00.000+0000","state":"Active","state_reason":null,"state_reason_code":null,"last_update_status":"Successful","last_update_status_reason":null,"last_update_status_reason_code":null,"tags":{},"source_description":""}}');
INSERT INTO "function_versions" VALUES('123456789012','us-east-1','f','2','v2','{"format":1,"record":{"scope":{"account":"123456789012","region":"us-east-1"},"name":"f","version":"2","config":{"role":"arn:aws:iam::123456789012:role/r","runtime":"python3.11","handler":"app.handler","description":"d","timeout":6,"memory_size":256,"ephemeral_storage":1024,"environment":{"STAGE":"old"},"layers":[{"arn":"arn:aws:lambda:us-east-1:123456789012:layer:words:1","code":{"digest":"0000000000000000000000000000000000000000000000000000000000000002","size":120,"unzipped_size":240}}],"architecture":"arm64","package_type":"Zip","tracing_mode":"Active","logging":{"log_format":"JSON","application_log_level":"DEBUG","system_log_level":"WARN","log_group":"/my/group"},"declared":{"KMSKeyArn":"arn:k"}},"code":{"digest":"0000000000000000000000000000000000000000000000000000000000000001","size":120,"unzipped_size":240},"revision_id":"v2","last_modified":"2024-01-01T00:00:00.000+0000","state":"Active","state_reason":null,"state_reason_code":null,"last_update_status":"Successful","last_update_status_reason":null,"last_update_status_reason_code":null,"tags":{},"source_description":""}}');
CREATE TABLE layer_versions (
    account  TEXT NOT NULL,
    region   TEXT NOT NULL,
    name     TEXT NOT NULL,
    number   INTEGER NOT NULL CHECK (number > 0),
    document TEXT NOT NULL,
    PRIMARY KEY (account, region, name, number),
    FOREIGN KEY (account, region, name) REFERENCES layers (account, region, name)
);
INSERT INTO "layer_versions" VALUES('123456789012','us-east-1','words',1,'{"format":1,"record":{"scope":{"account":"123456789012","region":"us-east-1"},"name":"words","number":1,"code":{"digest":"0000000000000000000000000000000000000000000000000000000000000002","size":120,"unzipped_size":240},"created":"2024-01-01T00:00:00.000+0000","description":"w","license_info":"MIT","compatible_runtimes":["python3.11"],"compatible_architectures":["arm64"]}}');
CREATE TABLE layers (
    account     TEXT NOT NULL,
    region      TEXT NOT NULL,
    name        TEXT NOT NULL,
    last_number INTEGER NOT NULL CHECK (last_number > 0),
    PRIMARY KEY (account, region, name)
);
INSERT INTO "layers" VALUES('123456789012','us-east-1','words',2);
CREATE TABLE version_numbers (
    account     TEXT NOT NULL,
    region      TEXT NOT NULL,
    name        TEXT NOT NULL,
    last_number INTEGER NOT NULL CHECK (last_number > 0),
    PRIMARY KEY (account, region, name)
);
INSERT INTO "version_numbers" VALUES('123456789012','us-east-1','f',2);
COMMIT;
PRAGMA user_version = 2;
