/* SPDX-License-Identifier: MIT */
/*
 * First all that dibs.conf will say is read and checked, then it is written. What is written of a
 * value is a number, names of users made of harmless characters (they end up in a line for a
 * shell), or types of GPUs; no other value is shown.
 *
 * What the settings mean was read in the program, not in its manual: what it calls a check for idle
 * GPUs is how often it looks for reservations that are over, and what it calls a lockout is how
 * long after its end a reservation is taken back.
 */
#include "cli/gpulocker.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"
#include "cli/gpu_dict.h"

#define ID       "gpulocker.value"
#define DAYS_MAX 3650

/* How long it let reservations be where no setting says so, and idle. */
#define DAYS_DEFAULT            7
#define GRACE_HOURS_DEFAULT     24
#define IDLE_HOURS_DEFAULT      24
#define IDLE_HOURS_DEFAULT_FORK 2

#define AT_ONCE   "dibs acts when a time has come and does not look every few hours"
#define NO_WEB    "dibs has no web page of its own yet; 'dibs status --watch' shows GPUs and leases"
#define NO_DISKS  "dibs does not look at disks"
#define NO_REDIS  "dibs needs neither Redis nor MongoDB"
#define LOG       "dibsd writes to the journal: journalctl -u dibsd"
#define HOOK      "whom to tell of what happens is up to a program, [hook] on-event in dibs.conf(5)"
#define SAMPLES   "dibs reads the GPUs every second, and knows whose processes are on them"
#define ONLY_READ "GPULocker reads it and does nothing with it"

enum meaning { TAKEN, OTHER, SECRET };

static const struct known {
	const char *name;
	enum meaning meaning;
	const char *says; /* of what is not taken */
} known[] = {
	{ "GPU_CONFIG", TAKEN },
	{ "PRIVILEGED_USERS", TAKEN },
	{ "MAX_RESERVERVATION_DAYS", TAKEN },
	{ "REVOKE_IDLE_GPU_AFTER_HOURS", TAKEN },
	{ "USER_LOCKOUT_HOURS", TAKEN },
	{ "USER_PENALTY", TAKEN },
	{ "MAX_EXTENSION_DAYS", OTHER,
		"dibs extends a hold before its end, as often as max-hold of the whole allows" },
	{ "CHECK_FOR_IDLE_GPU_HOURS", OTHER, AT_ONCE },
	{ "CHECK_FOR_IDLE_GPU", OTHER, AT_ONCE },
	{ "FORCE_REVOKE", OTHER,
		"at its end a hold is over, used or not; one with processes on its GPUs is not "
		"idle" },
	{ "GPU_ACTIVITY_CHECK_MINUTES", OTHER, SAMPLES },
	{ "MIN_GPU_UTILIZATION_PERCENT", OTHER, ONLY_READ },
	{ "MIN_GPU_MEMORY_GB", OTHER, ONLY_READ },
	{ "GPU_UTILIZATION_HISTORY_DAYS", OTHER,
		"'dibs report' sums up what is kept: [journal] keep in dibs.conf(5), here for "
		"ever" },
	{ "DISK_CACHE_TIMEOUT_SECONDS", OTHER, NO_DISKS },
	{ "DISK_CACHE_TIMEOUT", OTHER, NO_DISKS },
	{ "HOST", OTHER, NO_WEB },
	{ "PORT", OTHER, NO_WEB },
	{ "GPUs_STATUS_REFRESH_RATE_SECONDS", OTHER, NO_WEB },
	{ "USE_JALALI_DATES", OTHER, "dibs writes dates as 2026-12-01" },
	{ "REDIS_HOST", OTHER, NO_REDIS },
	{ "REDIS_PORT", OTHER, NO_REDIS },
	{ "REDIS_DB", OTHER, NO_REDIS },
	{ "LOG_FILE", OTHER, LOG },
	{ "LOG_LEVEL", OTHER, LOG },
	{ "TELEGRAM_BOT_USERNAME", OTHER, HOOK },
	{ "TG_ACCOUNT_REQUIRED", OTHER, HOOK },
	{ "TELEGRAM_CHAT_ID", SECRET, HOOK },
	{ "TELEGRAM_BOT_TOKEN", SECRET, HOOK },
	{ "TELEGRAM_ENCRYPTION_KEY", SECRET, HOOK },
	{ "PROXY_URL", SECRET, HOOK },
	{ "SECRET_KEY", SECRET, "there is no session to sign: who calls is known from the kernel" },
};

/* What dibs.conf will say. Lines are NULL where the setting is not there. */
struct plan {
	const struct env_line *gpus, *users, *days, *grace, *idle;
	struct gpu_dict dict;
	char names[1024]; /* of administrators, with blanks */
	uint64_t max_days;
	uint64_t grace_hours;
	uint64_t idle_hours; /* 0: never */
};

/* --- reading --- */

/* line may be NULL: then *ret is left alone. */
static int read_number(const struct env_line *line, uint64_t max, uint64_t *ret, struct error *err)
{
	if (!line || parse_uint(line->value, 1, max, ret) == 0)
		return 0;
	return error_set(
		err, -EINVAL, ID, "%s must be a number from 1 to %" PRIu64, line->name, max);
}

static bool is_user(const char *s)
{
	if (!isalnum((unsigned char)*s) && *s != '_')
		return false;
	while (isalnum((unsigned char)*s) || (*s && strchr("._-", *s)))
		s++;
	return !*s;
}

static int read_users(const struct env_line *line, char *dst, size_t size, struct error *err)
{
	_cleanup_(freep) char *copy = line ? strdup(line->value) : NULL;
	char *cursor = copy, *name;
	size_t n = 0;

	if (line && !copy)
		return error_set(err, -ENOMEM, ID, "out of memory");
	*dst = '\0';
	while (cursor && (name = text_next(&cursor))) {
		name = text_strip(name);
		if (*name && !is_user(name))
			return error_set(err, -EINVAL, ID,
				"%s: a name has other characters than letters, digits and ._-",
				line->name);
		if (n + strlen(name) + 2 > size)
			return error_set(err, -EINVAL, ID, "%s: too many names", line->name);
		if (*name)
			n += (size_t)snprintf(dst + n, size - n, "%s%s", n ? " " : "", name);
	}
	return 0;
}

static int read_gpus(const struct env_line *line, struct gpu_dict *dict, struct error *err)
{
	int r = line ? gpu_dict_parse(line->value, dict, err) : 0;

	return r < 0 ? error_prefix(err, r, "%s", line->name) : 0;
}

/* The first version took nothing back that was idle; the others did, also without the setting. */
static uint64_t usual_idle_hours(const struct env_file *env)
{
	bool is_fork = env_file_find(env, "MAX_RESERVERVATION_DAYS") ||
		       env_file_find(env, "MAX_EXTENSION_DAYS");
	bool is_first =
		!is_fork && !env_file_find(env, "USER_LOCKOUT_HOURS") &&
		(env_file_find(env, "USER_PENALTY") || env_file_find(env, "CHECK_FOR_IDLE_GPU"));

	return is_first ? 0 : is_fork ? IDLE_HOURS_DEFAULT_FORK : IDLE_HOURS_DEFAULT;
}

/* Says where: path and the line of the setting. */
static int at(const struct env_line *line, const char *path, int r, struct error *err)
{
	return r < 0 ? error_prefix(err, r, "%s:%u", path, line->number) : 0;
}

static int read_plan(
	const struct env_file *env, const char *path, struct plan *plan, struct error *err)
{
	int r;

	*plan = (struct plan){
		.gpus = env_file_find(env, "GPU_CONFIG"),
		.users = env_file_find(env, "PRIVILEGED_USERS"),
		.days = env_file_find(env, "MAX_RESERVERVATION_DAYS"),
		.grace = env_file_find(env, "USER_LOCKOUT_HOURS")
				 ?: env_file_find(env, "USER_PENALTY"),
		.idle = env_file_find(env, "REVOKE_IDLE_GPU_AFTER_HOURS"),
		.max_days = DAYS_DEFAULT,
		.grace_hours = GRACE_HOURS_DEFAULT,
		.idle_hours = usual_idle_hours(env),
	};
	r = at(plan->gpus, path, read_gpus(plan->gpus, &plan->dict, err), err);
	if (r == 0)
		r = at(plan->users, path,
			read_users(plan->users, plan->names, sizeof(plan->names), err), err);
	if (r == 0)
		r = at(plan->days, path, read_number(plan->days, DAYS_MAX, &plan->max_days, err),
			err);
	if (r == 0)
		r = at(plan->grace, path,
			read_number(plan->grace, DAYS_MAX * 24, &plan->grace_hours, err), err);
	if (r == 0)
		r = at(plan->idle, path,
			read_number(plan->idle, DAYS_MAX * 24, &plan->idle_hours, err), err);
	return r;
}

/* --- writing --- */

static void put_users(FILE *out, const struct plan *plan, bool has_group)
{
	if (!*plan->names)
		return;
	fprintf(out, "\n[daemon]\n# PRIVILEGED_USERS (line %u): members of a group.",
		plan->users->number);
	if (has_group)
		fputs(" To make them members of it:\n", out);
	else
		fputs(" Make it, and take the \"#\" away from the last line:\n"
		      "#   groupadd --system " GPULOCKER_GROUP "\n",
			out);
	fprintf(out, "#   for user in %s; do usermod -aG " GPULOCKER_GROUP " \"$user\"; done\n",
		plan->names);
	fprintf(out, "%sadmin-group = " GPULOCKER_GROUP "\n", has_group ? "" : "#");
}

static void put_lease(FILE *out, const struct plan *plan)
{
	fputs("\n[lease]\n", out);
	if (plan->days)
		fprintf(out, "# MAX_RESERVERVATION_DAYS (line %u)\n", plan->days->number);
	else
		fprintf(out, "# GPULocker reserves for 1 to %d days.\n", DAYS_DEFAULT);
	fprintf(out, "max-hold = %" PRIu64 "d\n", plan->max_days);
	fputs("# Of 'dibs reserve' without --duration: a day is the shortest that GPULocker has.\n"
	      "default-hold = 1d\n",
		out);
	if (plan->grace)
		fprintf(out, "# %s (line %u)\n", plan->grace->name, plan->grace->number);
	else
		fputs("# USER_LOCKOUT_HOURS is not there; this is what GPULocker does then.\n",
			out);
	fprintf(out, "hold-grace = %" PRIu64 "h\n", plan->grace_hours);
}

static void put_idle(FILE *out, const struct plan *plan)
{
	fputs("\n[idle]\n", out);
	if (plan->idle)
		fprintf(out, "# REVOKE_IDLE_GPU_AFTER_HOURS (line %u)\n", plan->idle->number);
	else
		fputs("# REVOKE_IDLE_GPU_AFTER_HOURS is not there; this is what GPULocker does "
		      "then. Without this line: 2h.\n",
			out);
	if (plan->idle_hours)
		fprintf(out, "hold-after = %" PRIu64 "h\n", plan->idle_hours);
	else
		fputs("hold-after = never\n", out);
}

static void put_guard(FILE *out)
{
	fputs("\n[guard]\n"
	      "# GPULocker gives /dev/nvidiaN to who has a reservation alone; this does the same.\n"
	      "# Undo what it did: setfacl -b /dev/nvidia[0-9]*; chmod 666 /dev/nvidia[0-9]*\n"
	      "# 'dibs selftest' proves that the guard holds on this machine.\n"
	      "mode = deny\n",
		out);
}

static void put_numbers(FILE *out, const struct gpu_set *gpus)
{
	const char *comma = "";

	gpu_set_foreach (first, gpus) {
		unsigned last = first;

		if (first > 0 && gpu_set_has(gpus, first - 1))
			continue;
		while (last + 1 < GPU_MAX && gpu_set_has(gpus, last + 1))
			last++;
		fprintf(out, "%s%u", comma, first);
		if (last > first)
			fprintf(out, "-%u", last);
		comma = ",";
	}
}

static void put_gpus(FILE *out, const struct plan *plan)
{
	if (!plan->gpus)
		return;
	fprintf(out,
		"\n# GPU_CONFIG (line %u): dibs finds GPUs, their models and memory by itself, see "
		"'dibs status'. A type is asked\n# for by a part of the name of the model:\n",
		plan->gpus->number);
	for (unsigned i = 0; i < plan->dict.n; i++) {
		const struct gpu_type *type = &plan->dict.types[i];

		fputs("#   GPU ", out);
		put_numbers(out, &type->gpus);
		fprintf(out, ": dibs reserve --type \"%s\"\n", type->name);
	}
}

static const struct known *find_known(const char *name)
{
	for (size_t i = 0; i < ELEMENTSOF(known); i++)
		if (strcmp(known[i].name, name) == 0)
			return &known[i];
	return NULL;
}

static void put_others(FILE *out, const struct env_file *env, struct gpulocker_counts *counts)
{
	fputs("\n# What dibs does otherwise, or does not do:\n", out);
	for (size_t i = 0; i < env->n; i++) {
		const struct env_line *line = &env->lines[i];
		const struct known *k = find_known(line->name);

		counts->taken += k && k->meaning == TAKEN;
		counts->other += k && k->meaning != TAKEN;
		counts->secret += k && k->meaning == SECRET;
		counts->unknown += !k;
		if (!k)
			fprintf(out, "# %.64s (line %u): is no setting of GPULocker\n", line->name,
				line->number);
		else if (k->says)
			fprintf(out, "# %s (line %u%s): %s\n", k->name, line->number,
				k->meaning == SECRET ? ", not shown" : "", k->says);
	}
}

int gpulocker_write(const struct env_file *env, const char *path, bool has_group, FILE *out,
	struct gpulocker_counts *ret, struct error *err)
{
	struct gpulocker_counts counts = { 0 };
	struct plan plan;
	int r = read_plan(env, path, &plan, err);

	if (r < 0)
		return r;
	fputs("# Settings of dibsd, made of those of GPULocker; see dibs.conf(5).\n", out);
	put_users(out, &plan, has_group);
	put_lease(out, &plan);
	put_idle(out, &plan);
	put_guard(out);
	put_gpus(out, &plan);
	put_others(out, env, &counts);
	*ret = counts;
	return 0;
}
