/* SPDX-License-Identifier: MIT */
/*
 * All SQL that the running daemon uses. Columns are bound and read in the order in which they are
 * named here, by the files of the records: sqlite_lease.c and sqlite_rows.c.
 *
 * $N is a parameter name for SQLite and a number for PostgreSQL; named in rising order it is the
 * same for both.
 */
#include "store/sqlite.h"

#define LEASE_COLUMNS                                                                          \
	"id, kind, state, ended_by, uid, n_gpus, only_gpus, types, min_memory_mib, "           \
	"duration_us, wait_us, forced, note, command, submitted_us, wait_until_us, since_us, " \
	"until_us, kill_us, ended_us, pid, start_ticks, cgroup, gid, turn, started_us, "       \
	"share_mib, bound, gpus"
#define JOB_COLUMNS                                                                               \
	"lease, name, on_limit, grace_us, warn_signal, warn_us, nice, retries, needs, begin_us, " \
	"held, is_array, pending, parallel, n_active, n_ok, n_failed, array_id, array_index, "    \
	"restarts, pinned, suspended, job_then, warned, exit_status, exit_signal, reason, log, "  \
	"log_offset"
/* The columns of a job are NULL for what is none. */
#define LEASES                         \
	LEASE_COLUMNS ", " JOB_COLUMNS \
		      " FROM lease LEFT JOIN job ON lease.kind = 'job' AND job.lease = lease.id "
#define GPU_COLUMNS                                                                           \
	"uuid, model, pci, vendor, number, minor, nodes, memory_mib, drained, drain_reason, " \
	"revoking, trusted_since_us, free_since_us, recent"
#define EVENT_COLUMNS "at_us, wall_us, kind, lease, uid, gpu, detail"
#define USAGE_COLUMNS \
	"lease, kind, uid, gid, gpu, model, from_us, to_us, used_us, peak_mib, waited_us"
#define MARK_COLUMNS "boot_id, offset_us, ledger_us, wall_us"

const char *const sqlite_statement_sql[STATEMENT_MAX] = {
	[STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
	[STATEMENT_COMMIT] = "COMMIT",
	[STATEMENT_ROLLBACK] = "ROLLBACK",

	[STATEMENT_PUT_LEASE] =
		"INSERT INTO lease (" LEASE_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, "
		"$10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, "
		"$25, $26, $27, $28, $29) "
		"ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, state = excluded.state, "
		"ended_by = excluded.ended_by, uid = excluded.uid, n_gpus = excluded.n_gpus, "
		"only_gpus = excluded.only_gpus, types = excluded.types, "
		"min_memory_mib = excluded.min_memory_mib, duration_us = excluded.duration_us, "
		"wait_us = excluded.wait_us, forced = excluded.forced, note = excluded.note, "
		"command = excluded.command, submitted_us = excluded.submitted_us, "
		"wait_until_us = excluded.wait_until_us, since_us = excluded.since_us, "
		"until_us = excluded.until_us, kill_us = excluded.kill_us, "
		"ended_us = excluded.ended_us, pid = excluded.pid, "
		"start_ticks = excluded.start_ticks, cgroup = excluded.cgroup, "
		"gid = excluded.gid, turn = excluded.turn, started_us = excluded.started_us, "
		"share_mib = excluded.share_mib, bound = excluded.bound, gpus = excluded.gpus",
	[STATEMENT_DROP_HOLDERS] = "DELETE FROM holder WHERE lease = $1",
	[STATEMENT_DROP_HOLDER] = "DELETE FROM holder WHERE gpu = $1 AND lease = $2",
	/* No row: others have it. Of shares, no more than there is; of a card whose memory is not
	 * known, none. */
	[STATEMENT_PUT_HOLDER] =
		"INSERT INTO holder (gpu, seat, lease, share_mib) "
		"SELECT $1, CASE WHEN $2 = 0 THEN 0 ELSE $3 END, $3, $2 FROM "
		"(SELECT COUNT(*) AS n, MIN(share_mib) AS least, SUM(share_mib) AS taken "
		"FROM holder WHERE gpu = $1) AS others "
		"WHERE CASE WHEN $2 = 0 THEN n = 0 ELSE (n = 0 OR least > 0) AND "
		"COALESCE(taken, 0) + $2 <= "
		"COALESCE((SELECT memory_mib FROM gpu WHERE uuid = $1), 0) END",
	[STATEMENT_PUT_JOB] =
		"INSERT INTO job (" JOB_COLUMNS
		") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, "
		"$17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29) "
		"ON CONFLICT (lease) DO UPDATE SET name = excluded.name, "
		"on_limit = excluded.on_limit, grace_us = excluded.grace_us, "
		"warn_signal = excluded.warn_signal, warn_us = excluded.warn_us, "
		"nice = excluded.nice, retries = excluded.retries, needs = excluded.needs, "
		"begin_us = excluded.begin_us, held = excluded.held, "
		"is_array = excluded.is_array, pending = excluded.pending, "
		"parallel = excluded.parallel, n_active = excluded.n_active, "
		"n_ok = excluded.n_ok, n_failed = excluded.n_failed, "
		"array_id = excluded.array_id, array_index = excluded.array_index, "
		"restarts = excluded.restarts, pinned = excluded.pinned, suspended = "
		"excluded.suspended, "
		"job_then = excluded.job_then, warned = excluded.warned, "
		"exit_status = excluded.exit_status, exit_signal = excluded.exit_signal, "
		"reason = excluded.reason, log = excluded.log, log_offset = excluded.log_offset",
	[STATEMENT_DROP_JOB] = "DELETE FROM job WHERE lease = $1",
	[STATEMENT_PUT_SPEC] = "INSERT INTO spec (lease, fields) VALUES ($1, $2) "
			       "ON CONFLICT (lease) DO UPDATE SET fields = excluded.fields",
	[STATEMENT_DROP_SPEC] = "DELETE FROM spec WHERE lease = $1",
	[STATEMENT_DROP_LEASE] = "DELETE FROM lease WHERE id = $1",

	[STATEMENT_PUT_IMPORT] = "INSERT INTO import (origin, lease) VALUES ($1, $2)",
	[STATEMENT_GET_IMPORT] = "SELECT lease FROM import WHERE origin = $1",

	[STATEMENT_PUT_GPU] =
		"INSERT INTO gpu (" GPU_COLUMNS
		") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) "
		"ON CONFLICT (uuid) DO UPDATE SET model = excluded.model, pci = excluded.pci, "
		"vendor = excluded.vendor, number = excluded.number, minor = excluded.minor, "
		"nodes = excluded.nodes, "
		"memory_mib = excluded.memory_mib, drained = excluded.drained, "
		"drain_reason = excluded.drain_reason, revoking = excluded.revoking, "
		"trusted_since_us = excluded.trusted_since_us, "
		"free_since_us = excluded.free_since_us, recent = excluded.recent",
	[STATEMENT_DROP_GPU] = "DELETE FROM gpu WHERE uuid = $1",

	[STATEMENT_PUT_OVERRIDE] = "INSERT INTO override (name, value) VALUES ($1, $2) "
				   "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
	[STATEMENT_DROP_OVERRIDE] = "DELETE FROM override WHERE name = $1",

	[STATEMENT_PUT_MARK] = "INSERT INTO meta (id, " MARK_COLUMNS ") VALUES (1, $1, $2, $3, $4) "
			       "ON CONFLICT (id) DO UPDATE SET boot_id = excluded.boot_id, "
			       "offset_us = excluded.offset_us, ledger_us = excluded.ledger_us, "
			       "wall_us = excluded.wall_us",
	[STATEMENT_ADD_EVENT] =
		"INSERT INTO event (" EVENT_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7)",
	[STATEMENT_DROP_EVENT] = "DELETE FROM event WHERE id = $1",
	[STATEMENT_ADD_USAGE] =
		"INSERT INTO usage (" USAGE_COLUMNS ", filed_us, reach_us) "
		"SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, filed, "
		"CASE WHEN reach > filed - $7 THEN reach ELSE filed - $7 END FROM "
		"(SELECT MAX(filed_us) AS filed, MAX(reach_us) AS reach FROM "
		"(SELECT $8 AS filed_us, 0 AS reach_us UNION ALL SELECT filed_us, reach_us FROM "
		"(SELECT filed_us, reach_us FROM usage ORDER BY id DESC LIMIT 1) AS newest) "
		"AS lines) AS known",
	[STATEMENT_DROP_USAGE] = "DELETE FROM usage WHERE id = $1",

	/* Cards come and go over the years; if there is no room for all, those that matter most. */
	[STATEMENT_GET_GPUS] = "SELECT " GPU_COLUMNS " FROM gpu ORDER BY "
			       "EXISTS (SELECT 1 FROM holder WHERE holder.gpu = gpu.uuid) DESC, "
			       "drained DESC, free_since_us DESC, number, uuid LIMIT $1",
	[STATEMENT_GET_OPEN_LEASES] =
		"SELECT " LEASES "WHERE id IN (SELECT id FROM lease "
		"WHERE state <> 'ended' AND gpus = '' UNION ALL SELECT lease FROM holder) "
		"ORDER BY id",
	[STATEMENT_GET_LEASE] = "SELECT " LEASES "WHERE id = $1",
	/* All that ended: the table itself is read backwards. */
	[STATEMENT_GET_ENDED] =
		"SELECT " LEASES "WHERE state = 'ended' AND id < $1 ORDER BY id DESC LIMIT $2",
	/* Some of it: the numbers of a page by the index alone (+id keeps it from the table). */
	[STATEMENT_GET_ENDED_OF] =
		"SELECT " LEASES "WHERE id IN (SELECT id FROM lease WHERE state = 'ended' "
		"AND id < $1 AND ended_us >= $2 AND uid = $3 ORDER BY id DESC LIMIT $4) "
		"ORDER BY id DESC",
	[STATEMENT_GET_ENDED_SINCE] =
		"SELECT " LEASES "WHERE id IN (SELECT id FROM lease WHERE state = 'ended' "
		"AND +id < $1 AND ended_us >= $2 ORDER BY +id DESC LIMIT $3) ORDER BY id DESC",
	[STATEMENT_GET_HELD] = "SELECT gpu, share_mib FROM holder WHERE lease = $1",
	[STATEMENT_GET_SPEC] = "SELECT fields FROM spec WHERE lease = $1",
	[STATEMENT_GET_ELEMENT] =
		"SELECT lease FROM job WHERE array_id = $1 AND array_index = $2 AND array_id <> 0",
	/* Also what was only journaled: a number that somebody has seen means one thing. */
	[STATEMENT_GET_LAST_ID] = "SELECT (SELECT MAX(id) FROM lease), "
				  "(SELECT MAX(lease) FROM event WHERE lease IS NOT NULL)",
	[STATEMENT_GET_OVERRIDE] = "SELECT value FROM override WHERE name = $1",
	[STATEMENT_GET_MARK] =
		"SELECT boot_id, offset_us, known.at_us, known.wall_us FROM meta, "
		"(SELECT ledger_us AS at_us, wall_us FROM meta UNION ALL "
		"SELECT at_us, wall_us FROM (SELECT at_us, wall_us FROM event ORDER BY id DESC "
		"LIMIT 1) AS newest) AS known ORDER BY known.at_us DESC LIMIT 1",
	[STATEMENT_GET_EVENTS] =
		"SELECT id, " EVENT_COLUMNS " FROM (SELECT id, " EVENT_COLUMNS
		" FROM event WHERE lease = $1 ORDER BY id DESC LIMIT $2) AS newest ORDER BY id",
	[STATEMENT_GET_EVENTS_AFTER] =
		"SELECT id, " EVENT_COLUMNS " FROM event WHERE id > $1 ORDER BY id LIMIT $2",
	[STATEMENT_GET_EVENTS_OF_AFTER] = "SELECT id, " EVENT_COLUMNS " FROM event WHERE "
					  "id > $1 AND lease = $2 ORDER BY id LIMIT $3",
	[STATEMENT_GET_LAST_EVENT] = "SELECT MAX(id) FROM event",
	[STATEMENT_GET_USAGE] = "SELECT " USAGE_COLUMNS " FROM usage WHERE lease = $1 ORDER BY id",
	[STATEMENT_GET_USAGE_AFTER] =
		"SELECT " USAGE_COLUMNS
		", id, filed_us FROM usage WHERE id > $1 ORDER BY id LIMIT $2",
	[STATEMENT_GET_LAST_USAGE] = "SELECT id, reach_us FROM usage ORDER BY id DESC LIMIT 1",
	[STATEMENT_GET_FILED_AFTER] =
		"SELECT id, filed_us FROM usage WHERE id > $1 ORDER BY id LIMIT 1",

	/* What may be forgotten one day: number, how old it is, whether it has to stay for now. */
	[STATEMENT_GET_OLD_EVENTS] =
		"SELECT id, at_us, id = (SELECT MAX(id) FROM event) OR "
		"COALESCE(lease = (SELECT MAX(lease) FROM event WHERE lease IS NOT NULL), 1 = 0) "
		"OR EXISTS (SELECT 1 FROM lease AS open WHERE open.id = event.lease AND "
		"open.state <> 'ended') FROM event ORDER BY id",
	[STATEMENT_GET_OLD_USAGE] =
		"SELECT id, filed_us, EXISTS (SELECT 1 FROM lease AS open WHERE "
		"open.id = usage.lease AND open.state <> 'ended') FROM usage ORDER BY id",
	/* Their age is that of the wish: what was wished for later has not ended before. */
	[STATEMENT_GET_OLD_LEASES] =
		"SELECT id, submitted_us, state <> 'ended' OR ended_us >= $1 OR "
		"id = (SELECT MAX(id) FROM lease) OR EXISTS (SELECT 1 FROM job WHERE "
		"array_id = lease.id AND array_id <> 0) FROM lease ORDER BY id",
};
