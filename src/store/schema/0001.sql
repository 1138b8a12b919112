-- SPDX-License-Identifier: MIT
-- The first schema. Words that the program may get more of (why a lease ended, kinds of events) are
-- checked where they are read, not here. Times are ledger time in microseconds (see base/clock.h) unless they say wall.
-- {ID} is the one word that databases do not share: a 64-bit primary key that can number itself.
-- A migration that was ever released is never changed, comments included: its checksum is recorded.

CREATE TABLE lease (
	id             {ID},
	kind           TEXT NOT NULL CHECK (kind IN ('run', 'hold', 'job', 'booking')),
	state          TEXT NOT NULL CHECK (state IN ('waiting', 'booked', 'active', 'grace', 'ended')),
	ended_by       TEXT NOT NULL,
	uid            BIGINT NOT NULL,
	n_gpus         BIGINT NOT NULL CHECK (n_gpus >= 1),
	only_gpus      TEXT,
	types          TEXT,
	min_memory_mib BIGINT NOT NULL,
	duration_us    BIGINT NOT NULL,
	wait_us        BIGINT NOT NULL,
	forced         BIGINT NOT NULL CHECK (forced IN (0, 1)),
	note           TEXT,
	command        TEXT,
	submitted_us   BIGINT NOT NULL,
	wait_until_us  BIGINT NOT NULL,
	since_us       BIGINT NOT NULL,
	until_us       BIGINT NOT NULL,
	kill_us        BIGINT NOT NULL,
	ended_us       BIGINT NOT NULL,
	pid            BIGINT NOT NULL,
	start_ticks    BIGINT NOT NULL,
	cgroup         TEXT
);

-- A start reads only what has not ended, however many years of history lie beside it.
CREATE INDEX lease_open ON lease (id) WHERE state <> 'ended';

-- Which GPUs a lease holds (held = 1) or held (0). gpu is a UUID; the record survives the card.
CREATE TABLE lease_gpu (
	lease    BIGINT NOT NULL REFERENCES lease (id),
	position BIGINT NOT NULL,
	gpu      TEXT NOT NULL,
	held     BIGINT NOT NULL CHECK (held IN (0, 1)),
	PRIMARY KEY (lease, position)
);

-- No GPU on two heads, whatever the program above does.
CREATE UNIQUE INDEX lease_gpu_holder ON lease_gpu (gpu) WHERE held = 1;

CREATE TABLE gpu (
	uuid          TEXT NOT NULL PRIMARY KEY,
	model         TEXT NOT NULL,
	pci           TEXT NOT NULL,
	vendor        TEXT NOT NULL CHECK (vendor IN ('nvidia', 'amd', 'intel')),
	number        BIGINT NOT NULL,
	minor         BIGINT NOT NULL,
	memory_mib    BIGINT NOT NULL,
	drained       BIGINT NOT NULL CHECK (drained IN (0, 1)),
	drain_reason  TEXT NOT NULL,
	free_since_us BIGINT NOT NULL
);

CREATE TABLE gpu_use (
	gpu     TEXT NOT NULL REFERENCES gpu (uuid),
	uid     BIGINT NOT NULL,
	last_us BIGINT NOT NULL,
	PRIMARY KEY (gpu, uid)
);

-- The journal: lines are only added. lease is no foreign key: a fact is recorded whatever happened
-- to what it is about.
CREATE TABLE event (
	id      {ID},
	at_us   BIGINT NOT NULL,
	wall_us BIGINT NOT NULL,
	kind    TEXT NOT NULL,
	lease   BIGINT,
	uid     BIGINT,
	gpu     TEXT,
	detail  TEXT NOT NULL
);

CREATE INDEX event_lease ON event (lease, id) WHERE lease IS NOT NULL;

-- One row: the clock.
CREATE TABLE meta (
	id        {ID} CHECK (id = 1),
	boot_id   TEXT NOT NULL,
	offset_us BIGINT NOT NULL,
	ledger_us BIGINT NOT NULL,
	wall_us   BIGINT NOT NULL
);
