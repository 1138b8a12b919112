-- SPDX-License-Identifier: MIT
-- The first schema. Words that the program may get more of (why a lease ended, kinds of events) are
-- checked where they are read, not here. Times are ledger time in microseconds (see base/clock.h) unless they say wall.
-- Two words are not shared by databases: {ID} is a 64-bit primary key that can number itself,
-- {CLUSTERED} says that the rows lie in the index of the primary key, where a database can do that.
-- An answer waits until all pages that it changed are on disk, so the tables are laid out for few of
-- them: what changes together lies in one row, and no index is touched that the answer is not about.
-- Words are compared one by one: for IN (...) SQLite builds a table, anew for each row.
-- A migration that was ever released is never changed, comments included: its checksum is recorded.

CREATE TABLE lease (
	id             {ID},
	kind           TEXT NOT NULL
		CHECK (kind = 'run' OR kind = 'hold' OR kind = 'job' OR kind = 'booking'),
	state          TEXT NOT NULL
		CHECK (state = 'waiting' OR state = 'booked' OR state = 'active' OR state = 'grace' OR state = 'ended'),
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
	cgroup         TEXT,
	-- UUIDs between commas: which it holds or held. The record survives the card.
	gpus           TEXT NOT NULL CHECK (gpus = '' OR (state <> 'waiting' AND state <> 'booked'))
);

-- Who holds a GPU (a UUID) now: no GPU on two heads, whatever the program above does.
CREATE TABLE holder (
	gpu   TEXT NOT NULL PRIMARY KEY,
	lease BIGINT NOT NULL REFERENCES lease (id)
) {CLUSTERED};

-- With holder, all that has not ended: a start reads only that, however many years of history lie
-- beside it.
CREATE INDEX lease_open ON lease (id) WHERE state <> 'ended' AND gpus = '';

CREATE TABLE gpu (
	uuid          TEXT NOT NULL PRIMARY KEY,
	model         TEXT NOT NULL,
	pci           TEXT NOT NULL,
	vendor        TEXT NOT NULL CHECK (vendor = 'nvidia' OR vendor = 'amd' OR vendor = 'intel'),
	number        BIGINT NOT NULL,
	minor         BIGINT NOT NULL,
	-- MAJOR:MINOR of its character devices between spaces: a start must know what to guard, also
	-- when no sensor tells.
	nodes         TEXT NOT NULL,
	memory_mib    BIGINT NOT NULL,
	drained       BIGINT NOT NULL CHECK (drained IN (0, 1)),
	drain_reason  TEXT NOT NULL,
	-- The lease whose processes have to let go of it first, or 0.
	revoking      BIGINT NOT NULL,
	-- When it was last said to be repaired.
	trusted_since_us BIGINT NOT NULL,
	free_since_us BIGINT NOT NULL,
	-- Who held it last, and until when: UID:LAST_US between spaces, as few as the program keeps.
	recent        TEXT NOT NULL
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

-- What administrators said at run time, above the configuration.
CREATE TABLE override (
	name  TEXT NOT NULL PRIMARY KEY,
	value TEXT NOT NULL
) {CLUSTERED};

-- One row: the clock. The newest journal line may know a later time.
CREATE TABLE meta (
	id        {ID} CHECK (id = 1),
	boot_id   TEXT NOT NULL,
	offset_us BIGINT NOT NULL,
	ledger_us BIGINT NOT NULL,
	wall_us   BIGINT NOT NULL
);
