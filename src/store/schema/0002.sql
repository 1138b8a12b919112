-- SPDX-License-Identifier: MIT
-- Batch jobs, shares of GPUs, and the account. {BYTES} is the type of a value that is no text.
-- A submit changes the ends of lease, job, spec and event, and no index but lease_open and
-- event_lease; the indexes made here are about elements, about the ended and about lines that are added up.

-- Nobody asked for the gid of old leases: 4294967295 is (gid_t)-1.
ALTER TABLE lease ADD COLUMN gid BIGINT NOT NULL DEFAULT 4294967295;
ALTER TABLE lease ADD COLUMN turn BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lease ADD COLUMN started_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lease ADD COLUMN share_mib BIGINT NOT NULL DEFAULT 0 CHECK (share_mib >= 0);
UPDATE lease SET turn = id, started_us = since_us;

-- The history of a user: not touched before a lease ends. All that is searched for lies in it.
CREATE INDEX lease_ended ON lease (uid, id, ended_us, state) WHERE state = 'ended';

-- Who holds a GPU (a UUID) now. Who has it alone sits on seat 0, which there is once: no GPU is on
-- two heads, whatever the program above does. Who has a share sits on the seat of its own number.
-- That nobody sits beside seat 0, and that all shares are not more than the card, is said by the one
-- statement that adds rows.
ALTER TABLE holder RENAME TO holder_1;
CREATE TABLE holder (
	gpu       TEXT NOT NULL,
	seat      BIGINT NOT NULL CHECK (seat = CASE WHEN share_mib = 0 THEN 0 ELSE lease END),
	lease     BIGINT NOT NULL REFERENCES lease (id) CHECK (lease >= 1),
	share_mib BIGINT NOT NULL CHECK (share_mib >= 0),
	PRIMARY KEY (gpu, seat)
) {CLUSTERED};
INSERT INTO holder (gpu, seat, lease, share_mib) SELECT gpu, 0, lease, 0 FROM holder_1;
DROP TABLE holder_1;

-- One row for each lease of kind job, also an ended one.
CREATE TABLE job (
	lease       {ID} REFERENCES lease (id),
	name        TEXT NOT NULL,
	on_limit    TEXT NOT NULL,
	grace_us    BIGINT NOT NULL,
	warn_signal BIGINT NOT NULL,
	warn_us     BIGINT NOT NULL,
	nice        BIGINT NOT NULL,
	retries     BIGINT NOT NULL,
	-- ID:WORD between commas.
	needs       TEXT NOT NULL,
	begin_us    BIGINT NOT NULL,
	held        BIGINT NOT NULL,
	is_array    BIGINT NOT NULL,
	-- Indices and ranges of them, between commas.
	pending     TEXT NOT NULL,
	parallel    BIGINT NOT NULL,
	n_active    BIGINT NOT NULL,
	n_ok        BIGINT NOT NULL,
	n_failed    BIGINT NOT NULL,
	-- 0 if it is no element.
	array_id    BIGINT NOT NULL,
	array_index BIGINT NOT NULL,
	restarts    BIGINT NOT NULL,
	-- Its list of GPUs is there only because it is suspended.
	pinned      BIGINT NOT NULL,
	suspended   BIGINT NOT NULL,
	job_then    TEXT NOT NULL,
	warned      BIGINT NOT NULL,
	exit_status BIGINT NOT NULL,
	exit_signal BIGINT NOT NULL,
	reason      TEXT NOT NULL,
	log         TEXT,
	log_offset  BIGINT NOT NULL
);

-- No element is started twice.
CREATE UNIQUE INDEX job_element ON job (array_id, array_index) WHERE array_id <> 0;

-- What a job starts. Apart from it, because it is long and never changes.
CREATE TABLE spec (
	lease  {ID} REFERENCES lease (id),
	fields {BYTES} NOT NULL
);

-- The account: lines are only added, each when its time is over. lease is no foreign key: what was
-- used stays used.
CREATE TABLE usage (
	id        {ID},
	lease     BIGINT NOT NULL,
	kind      TEXT NOT NULL,
	uid       BIGINT NOT NULL,
	gid       BIGINT NOT NULL,
	gpu       TEXT NOT NULL,
	model     TEXT NOT NULL,
	from_us   BIGINT NOT NULL,
	to_us     BIGINT NOT NULL CHECK (to_us >= from_us),
	used_us   BIGINT NOT NULL,
	peak_mib  BIGINT NOT NULL,
	waited_us BIGINT NOT NULL,
	-- The largest to_us up to this line, and the farthest that from_us of a line up to this lay
	-- before its filed_us. Neither falls from one line to the next: so a time is found without an
	-- index, and its end known.
	filed_us  BIGINT NOT NULL CHECK (filed_us >= to_us),
	reach_us  BIGINT NOT NULL CHECK (reach_us >= filed_us - from_us)
);

CREATE INDEX usage_lease ON usage (lease);
