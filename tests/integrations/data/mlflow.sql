CREATE TABLE "experiments" (
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	artifact_location VARCHAR(256), 
	lifecycle_stage VARCHAR(32), 
	creation_time BIGINT, 
	last_update_time BIGINT, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT experiment_pk PRIMARY KEY (experiment_id), 
	CONSTRAINT experiments_lifecycle_stage CHECK (lifecycle_stage IN ('active', 'deleted')), 
	CONSTRAINT uq_experiments_workspace_name UNIQUE (workspace, name)
);
INSERT INTO "experiments" VALUES(0,'Default','store','active',1795309216651,1795309216651,'default');
INSERT INTO "experiments" VALUES(1,'dense','store','active',1795309216670,1795309216670,'default');
INSERT INTO "experiments" VALUES(2,'sparse','store','active',1795309217411,1795309217411,'default');
CREATE TABLE "metrics" (
	"key" VARCHAR(250) NOT NULL, 
	value FLOAT NOT NULL, 
	timestamp BIGINT NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	step BIGINT DEFAULT '0' NOT NULL, 
	is_nan BOOLEAN DEFAULT '0' NOT NULL, 
	CONSTRAINT metric_pk PRIMARY KEY ("key", timestamp, step, run_uuid, value, is_nan), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid), 
	CHECK (is_nan IN (0, 1))
);
INSERT INTO "metrics" VALUES('val/loss',3.0,1795309216892,'0e7368d6420b41348e60f1e8a1624a2f',10,0);
INSERT INTO "metrics" VALUES('acc',0.2,1795309216892,'0e7368d6420b41348e60f1e8a1624a2f',10,0);
INSERT INTO "metrics" VALUES('val/loss',1.5,1795309216922,'0e7368d6420b41348e60f1e8a1624a2f',20,0);
INSERT INTO "metrics" VALUES('acc',0.4,1795309216922,'0e7368d6420b41348e60f1e8a1624a2f',20,0);
INSERT INTO "metrics" VALUES('val/loss',1.0,1795309216950,'0e7368d6420b41348e60f1e8a1624a2f',30,0);
INSERT INTO "metrics" VALUES('acc',0.6,1795309216950,'0e7368d6420b41348e60f1e8a1624a2f',30,0);
INSERT INTO "metrics" VALUES('val/loss',0.75,1795309216974,'0e7368d6420b41348e60f1e8a1624a2f',40,0);
INSERT INTO "metrics" VALUES('acc',0.8,1795309216974,'0e7368d6420b41348e60f1e8a1624a2f',40,0);
INSERT INTO "metrics" VALUES('val/loss',0.6,1795309217002,'0e7368d6420b41348e60f1e8a1624a2f',50,0);
INSERT INTO "metrics" VALUES('acc',1.0,1795309217002,'0e7368d6420b41348e60f1e8a1624a2f',50,0);
INSERT INTO "metrics" VALUES('val/loss',3.0,1795309217137,'07c8a49649614433b7e7b950a971cbb8',10,0);
INSERT INTO "metrics" VALUES('acc',0.2,1795309217137,'07c8a49649614433b7e7b950a971cbb8',10,0);
INSERT INTO "metrics" VALUES('val/loss',1.5,1795309217182,'07c8a49649614433b7e7b950a971cbb8',20,0);
INSERT INTO "metrics" VALUES('acc',0.4,1795309217182,'07c8a49649614433b7e7b950a971cbb8',20,0);
INSERT INTO "metrics" VALUES('val/loss',1.0,1795309217232,'07c8a49649614433b7e7b950a971cbb8',30,0);
INSERT INTO "metrics" VALUES('acc',0.6,1795309217232,'07c8a49649614433b7e7b950a971cbb8',30,0);
INSERT INTO "metrics" VALUES('val/loss',0.75,1795309217273,'07c8a49649614433b7e7b950a971cbb8',40,0);
INSERT INTO "metrics" VALUES('acc',0.8,1795309217273,'07c8a49649614433b7e7b950a971cbb8',40,0);
INSERT INTO "metrics" VALUES('val/loss',0.0,1795309217314,'07c8a49649614433b7e7b950a971cbb8',50,1);
INSERT INTO "metrics" VALUES('acc',1.0,1795309217314,'07c8a49649614433b7e7b950a971cbb8',50,0);
INSERT INTO "metrics" VALUES('val/loss',3.0,1795309217540,'9a3238feb8c641caacde948d1913ddd5',10,0);
INSERT INTO "metrics" VALUES('acc',0.2,1795309217540,'9a3238feb8c641caacde948d1913ddd5',10,0);
INSERT INTO "metrics" VALUES('val/loss',1.5,1795309217584,'9a3238feb8c641caacde948d1913ddd5',20,0);
INSERT INTO "metrics" VALUES('acc',0.4,1795309217584,'9a3238feb8c641caacde948d1913ddd5',20,0);
INSERT INTO "metrics" VALUES('val/loss',1.0,1795309217638,'9a3238feb8c641caacde948d1913ddd5',30,0);
INSERT INTO "metrics" VALUES('acc',0.6,1795309217638,'9a3238feb8c641caacde948d1913ddd5',30,0);
INSERT INTO "metrics" VALUES('val/loss',0.75,1795309217686,'9a3238feb8c641caacde948d1913ddd5',40,0);
INSERT INTO "metrics" VALUES('acc',0.8,1795309217686,'9a3238feb8c641caacde948d1913ddd5',40,0);
INSERT INTO "metrics" VALUES('val/loss',0.6,1795309217730,'9a3238feb8c641caacde948d1913ddd5',50,0);
INSERT INTO "metrics" VALUES('acc',1.0,1795309217730,'9a3238feb8c641caacde948d1913ddd5',50,0);
INSERT INTO "metrics" VALUES('val/loss',9.0,1795309217854,'3ac3096b5b8244c293302d19fd9f3e49',1,0);
CREATE TABLE "params" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(8000) NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT param_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid)
);
INSERT INTO "params" VALUES('lr','0.001','0e7368d6420b41348e60f1e8a1624a2f');
INSERT INTO "params" VALUES('opt/name','adamw','0e7368d6420b41348e60f1e8a1624a2f');
INSERT INTO "params" VALUES('batch_size','8','0e7368d6420b41348e60f1e8a1624a2f');
INSERT INTO "params" VALUES('seq_len','128','0e7368d6420b41348e60f1e8a1624a2f');
INSERT INTO "params" VALUES('max_steps','50','0e7368d6420b41348e60f1e8a1624a2f');
INSERT INTO "params" VALUES('lr','0.003','07c8a49649614433b7e7b950a971cbb8');
INSERT INTO "params" VALUES('opt/name','adamw','07c8a49649614433b7e7b950a971cbb8');
INSERT INTO "params" VALUES('batch_size','8','07c8a49649614433b7e7b950a971cbb8');
INSERT INTO "params" VALUES('seq_len','128','07c8a49649614433b7e7b950a971cbb8');
INSERT INTO "params" VALUES('max_steps','50','07c8a49649614433b7e7b950a971cbb8');
INSERT INTO "params" VALUES('lr','0.001','9a3238feb8c641caacde948d1913ddd5');
INSERT INTO "params" VALUES('opt/name','adamw','9a3238feb8c641caacde948d1913ddd5');
INSERT INTO "params" VALUES('batch_size','8','9a3238feb8c641caacde948d1913ddd5');
INSERT INTO "params" VALUES('seq_len','128','9a3238feb8c641caacde948d1913ddd5');
INSERT INTO "params" VALUES('max_steps','50','9a3238feb8c641caacde948d1913ddd5');
CREATE TABLE "runs" (
	run_uuid VARCHAR(32) NOT NULL, 
	name VARCHAR(250), 
	source_type VARCHAR(20), 
	source_name VARCHAR(500), 
	entry_point_name VARCHAR(50), 
	user_id VARCHAR(256), 
	status VARCHAR(9), 
	start_time BIGINT, 
	end_time BIGINT, 
	source_version VARCHAR(50), 
	lifecycle_stage VARCHAR(20), 
	artifact_uri VARCHAR(200), 
	experiment_id INTEGER, deleted_time BIGINT, 
	CONSTRAINT run_pk PRIMARY KEY (run_uuid), 
	CONSTRAINT source_type CHECK (source_type IN ('NOTEBOOK', 'JOB', 'LOCAL', 'UNKNOWN', 'PROJECT')), 
	CONSTRAINT runs_lifecycle_stage CHECK (lifecycle_stage IN ('active', 'deleted')), 
	FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CHECK (status IN ('SCHEDULED', 'FAILED', 'FINISHED', 'RUNNING', 'KILLED'))
);
INSERT INTO "runs" VALUES('0e7368d6420b41348e60f1e8a1624a2f','a','UNKNOWN','','','user','FINISHED',1795309216826,1795309217023,'','active','store',1,NULL);
INSERT INTO "runs" VALUES('07c8a49649614433b7e7b950a971cbb8','b','UNKNOWN','','','user','FINISHED',1795309217056,1795309217352,'','active','store',1,NULL);
INSERT INTO "runs" VALUES('9a3238feb8c641caacde948d1913ddd5','a','UNKNOWN','','','user','FINISHED',1795309217447,1795309217775,'','active','store',2,NULL);
INSERT INTO "runs" VALUES('3ac3096b5b8244c293302d19fd9f3e49','deleted','UNKNOWN','','','user','FINISHED',1795309217815,1795309217895,'','deleted','store',2,1795309217941);
CREATE TABLE "tags" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(8000), 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT tag_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid)
);
INSERT INTO "tags" VALUES('mlflow.runName','a','0e7368d6420b41348e60f1e8a1624a2f');
INSERT INTO "tags" VALUES('corpus','corpus of a','0e7368d6420b41348e60f1e8a1624a2f');
INSERT INTO "tags" VALUES('mlflow.runName','b','07c8a49649614433b7e7b950a971cbb8');
INSERT INTO "tags" VALUES('corpus','corpus of b','07c8a49649614433b7e7b950a971cbb8');
INSERT INTO "tags" VALUES('mlflow.runName','a','9a3238feb8c641caacde948d1913ddd5');
INSERT INTO "tags" VALUES('corpus','corpus of a','9a3238feb8c641caacde948d1913ddd5');
