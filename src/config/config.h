/* SPDX-License-Identifier: MIT */
/* The settings of dibsd: /etc/dibs/dibs.conf, then /etc/dibs/dibs.conf.d/ *.conf in the order of
 * their names. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define CONFIG_PATH      "/etc/dibs/dibs.conf"
#define CONFIG_NAME_SIZE 256

enum guard_mode { GUARD_OFF, GUARD_WATCH, GUARD_DENY, GUARD_MODE_MAX, GUARD_MODE_INVALID = -22 };

/* "off", "watch", "deny" */
const char *guard_mode_to_string(enum guard_mode mode);
enum guard_mode guard_mode_from_string(const char *s);

enum guard_method { GUARD_AUTO, GUARD_FILTER, GUARD_ACL, GUARD_METHOD_MAX };

enum visible { VISIBLE_UUID, VISIBLE_INDEX, VISIBLE_MAX };

struct config {
	/* [daemon] */
	char *socket; /* path */
	unsigned socket_mode;
	gid_t socket_group; /* (gid_t)-1: leave */
	char *state_directory;
	gid_t admin_group; /* (gid_t)-1: root alone */
	char *cgroup_root; /* NULL: find one */
	/* [lease] */
	int64_t default_hold_us;
	int64_t max_hold_us;
	int64_t hold_grace_us; /* a hold goes on for so long after its time; 0 = it does not */
	int64_t kill_grace_us; /* between TERM and KILL */
	enum visible visible;
	/* [sensor] */
	int64_t sensor_interval_us;
	int64_t sensor_deadline_us; /* silent for so long: killed and started again */
	char *sensor_exec; /* a program of the site that is asked instead of the hardware; NULL:
			      none */
	/* [guard] Lists are "a,b", for text_list_next(); names are shorter than
	 * CONFIG_NAME_SIZE. */
	enum guard_mode guard_mode;
	enum guard_method guard_method;
	char *session_cgroups;   /* names or absolute paths, comma separated; may be empty */
	char *container_cgroups; /* the same, of parents of containers: root is denied there too */
	char *device_majors; /* numbers, comma separated: what may be guarded beside GPUs' own */
	/* [foreign] */
	char *foreign_ignore; /* names of programs, comma separated */
	unsigned foreign_min_memory_mib;
	/* [idle] 0 = never */
	int64_t idle_hold_us, idle_run_us, idle_job_us;
	int64_t idle_grace_us;
	/* [jobs] */
	char *jobs_pam_service;     /* NULL: no PAM */
	int64_t jobs_max_time_us;   /* 0 = no limit */
	int64_t jobs_time_slice_us; /* 0 = none */
	int64_t jobs_start_timeout_us;
	int64_t jobs_retry_delay_us;  /* before the first retry; doubles with each */
	int64_t jobs_max_grace_us;    /* the longest --grace */
	unsigned jobs_memory_max_mib; /* memory.max; 0 = none */
	unsigned jobs_processes_max;  /* pids.max; 0 = none */
	unsigned jobs_cpu_max;        /* percent of one CPU, cpu.max; 0 = none */
	char *jobs_checkpoint;        /* path of cuda-checkpoint; NULL: jobs are not suspended */
	/* [share] */
	bool share_enabled;
	int64_t share_grace_us; /* between the warning and the end of who uses more than its share
				 */
	/* [gpu-lock] */
	char *lock_directory; /* where users of the package gpu_lock have their locks; NULL: none */
	/* [mgpu] Read by mgpu_srun, each time. */
	bool mgpu_foreground;
	/* [journal] */
	int64_t journal_keep_us; /* 0 = for ever */
	/* [hook] */
	char *hook_on_event; /* path of a program; NULL: none */
	int64_t hook_timeout_us;
	/* [limits] */
	unsigned connections_per_user;
	unsigned connections;
	unsigned requests_per_user;
	unsigned requests;
	unsigned changes_per_hour; /* of one user */
};

/*
 * Reads path and its drop-ins (path + ".d"). A missing CONFIG_PATH means defaults; any other path
 * must exist. Refused: a file or drop-in directory that somebody else than its owner can write, or
 * owned by neither root nor us; an unknown section or key, a key twice in one file, a value out of
 * range: "file:line: ...". *ret is written only on success.
 */
int config_load(const char *path, struct config **ret, struct error *err);

struct config *config_free(struct config *config);
DEFINE_CLEANUP(struct config *, config_free)

/* One row a setting; the manual page is checked against it. */
struct setting {
	const char *section, *key, *fallback, *help;
	bool reload; /* takes effect at SIGHUP; the others at the next start */
};

/* The i-th setting, or NULL after the last. */
const struct setting *config_setting(size_t i);

/* The name of a setting that differs between the two and needs a restart, or NULL. */
const char *config_needs_restart(const struct config *before, const struct config *after);
