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
	"until_us, kill_us, ended_us, pid, start_ticks, cgroup, gpus"
#define GPU_COLUMNS                                                                           \
	"uuid, model, pci, vendor, number, minor, nodes, memory_mib, drained, drain_reason, " \
	"revoking, trusted_since_us, free_since_us, recent"
#define EVENT_COLUMNS "at_us, wall_us, kind, lease, uid, gpu, detail"
#define MARK_COLUMNS  "boot_id, offset_us, ledger_us, wall_us"

const char *const sqlite_statement_sql[STATEMENT_MAX] = {
	[STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
	[STATEMENT_COMMIT] = "COMMIT",
	[STATEMENT_ROLLBACK] = "ROLLBACK",

	[STATEMENT_PUT_LEASE] =
		"INSERT INTO lease (" LEASE_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, "
		"$10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24) "
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
		"gpus = excluded.gpus",
	[STATEMENT_DROP_HOLDERS] = "DELETE FROM holder WHERE lease = $1",
	[STATEMENT_DROP_HOLDER] = "DELETE FROM holder WHERE gpu = $1 AND lease = $2",
	[STATEMENT_PUT_HOLDER] = "INSERT INTO holder (gpu, lease) VALUES ($1, $2)",

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

	/* Cards come and go over the years; if there is no room for all, those that matter most. */
	[STATEMENT_GET_GPUS] = "SELECT " GPU_COLUMNS " FROM gpu ORDER BY "
			       "EXISTS (SELECT 1 FROM holder WHERE holder.gpu = gpu.uuid) DESC, "
			       "drained DESC, free_since_us DESC, number, uuid LIMIT $1",
	[STATEMENT_GET_OPEN_LEASES] =
		"SELECT " LEASE_COLUMNS " FROM lease WHERE id IN (SELECT id FROM lease "
		"WHERE state <> 'ended' AND gpus = '' UNION ALL SELECT lease FROM holder) "
		"ORDER BY id",
	[STATEMENT_GET_LEASE] = "SELECT " LEASE_COLUMNS " FROM lease WHERE id = $1",
	[STATEMENT_GET_HELD] = "SELECT gpu FROM holder WHERE lease = $1",
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
};
