/* SPDX-License-Identifier: MIT */
/*
 * canhazgpu (and chg, its short name): the commands, flags, lines and JSON of canhazgpu 1.1.3, on
 * top of dibs. Private to canhazgpu*.c.
 *
 * What is shown of GPUs is kept as the JSON of "canhazgpu status --json": an array of objects, each
 * with gpu_id, status (AVAILABLE, IN_USE, UNRESERVED, ERROR) and what of user, duration, type,
 * note, details, validation, model, gpu_model, last_released, last_heartbeat, expiry_time,
 * unreserved_users, process_info and error there is to tell. Another host sends the same, so that
 * one way of drawing does for both.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cli/cli.h"

#define CHG_VERSION "v1.1.3" /* whose flags and lines these are */

enum chg_flag {
	CHG_CONFIG,
	CHG_HELP,
	CHG_SHOW_VERSION,
	CHG_REDIS_HOST,
	CHG_REDIS_PORT,
	CHG_REDIS_DB,
	CHG_MEMORY_THRESHOLD,
	CHG_REMOTE_HOSTS, /* only in configuration files and the environment */
	CHG_GPUS,
	CHG_GPU_IDS,
	CHG_FORCE,
	CHG_PROVIDER,
	CHG_TIMEOUT,
	CHG_DURATION,
	CHG_NOTE,
	CHG_USER,
	CHG_NONBLOCK,
	CHG_WAIT,
	CHG_SHORT,
	CHG_JSON,
	CHG_ALL,
	CHG_REMOTE,
	CHG_SUMMARY,
	CHG_NO_COLOR,
	CHG_FORMAT,
	CHG_DAYS,
	CHG_PORT,
	CHG_HOST,
	CHG_DEMO,
	CHG_FLAG_MAX,
};

struct chg;

struct chg_command {
	const char *name;
	const char *summary;
	const char *help; /* what more there is to know; may be NULL */
	bool hidden;      /* not in --help, and its arguments are not looked at */
	bool command;     /* the first word and all that follows is somebody else's command line */
	int (*run)(struct chg *chg); /* returns the exit status */
};

/* To a NULL name. */
extern const struct chg_command chg_commands[];

enum chg_source { CHG_UNSET, CHG_LINE, CHG_ENVIRONMENT, CHG_FILE };

struct chg {
	struct cli cli;
	const struct chg_command *command; /* NULL: none was given */
	char *values[CHG_FLAG_MAX];        /* owned; NULL = not given, see chg_value */
	enum chg_source sources[CHG_FLAG_MAX];
	char *config; /* owned: the configuration file that was read, or NULL */
	char **words; /* borrowed from argv, NULL at the end */
	int n_words;
	bool dashes; /* "--" stood before the words */
};

void chg_clear(struct chg *chg);

/* Flags (canhazgpu_flags.c). Errors are -EINVAL with the sentence of the original, or -ENOMEM. */

/* Reads the command line. */
int chg_parse(struct chg *chg, int argc, char **argv, struct error *err);

/* The value of a flag, or its default; "" if there is none. */
const char *chg_value(const struct chg *chg, enum chg_flag flag);
bool chg_is(const struct chg *chg, enum chg_flag flag);
int64_t chg_int(const struct chg *chg, enum chg_flag flag);

/* Sets the value of the flag that configuration files call key ("run.gpus", "remote_hosts") unless
 * it has one already. -ENOENT: there is no such key; -EINVAL: not such a value. A key of another
 * command is only checked. */
int chg_set(struct chg *chg, enum chg_source source, const char *key, const char *value,
	struct error *err);

/* Takes what CANHAZGPU_* says. */
int chg_read_environment(struct chg *chg, struct error *err);

/* Says on stderr which of the given settings mean nothing any more. */
void chg_name_unused(const struct chg *chg);

void chg_print_help(const struct chg *chg);

/* Values (canhazgpu_values.c). */

/* "30s", "30m", "2h", "1d", "0.5h", "1.5d", and what dibs reads; "" is 8 hours. */
int chg_parse_duration(const char *text, int64_t *ret_us, struct error *err);

/* "2h 5m 0s" */
#define CHG_DURATION_SIZE 40
void chg_format_duration(char dst[CHG_DURATION_SIZE], int64_t us);

/* A whole number with a sign or without, of at most nine digits? */
bool chg_is_int(const char *text);

/* "0,2": each a number, none twice, none below nothing; or "". */
int chg_check_ids(const char *text, struct error *err);

/* The same as an array of integers; owned by the caller. NULL: without memory. */
json_t *chg_ids(const char *text);

/* "[0 2]", as the original prints lists. The caller frees. */
char *chg_format_ids(json_t *ids);

/* Configuration files (canhazgpu_config.c): --config, or ~/.canhazgpu.yaml, if there is one.
 * -EINVAL "FILE:LINE: ..."; -EACCES: others could have written it. */
int chg_read_config(struct chg *chg, struct error *err);

/* The mapping of one file, for tests. name is for messages. */
int chg_read_yaml(
	struct chg *chg, const char *name, const char *text, size_t size, struct error *err);

/* Says it the way of the original, and returns 1. */
int chg_fail(const char *fmt, ...) _printf_(1, 2);
int chg_fail_error(struct chg *chg, const struct error *err);

/* One call; on failure it is said already, and *ret is NULL. */
json_t *chg_call(struct chg *chg, const char *method, json_t *parameters);

/* Notes carry who it is for: "[NAME] text", as --user says. Splits one: the name may be empty. The
 * rest, which is returned, points into note. */
#define CHG_NAME_SIZE 65
const char *chg_split_note(const char *note, char name[CHG_NAME_SIZE]);

/* "[NAME] text", or text alone. The caller frees. -EINVAL for names that cannot be told again. */
int chg_join_note(const char *name, const char *text, char **ret, struct error *err);

/* Whom a lease is for: "alice", or "alice (NAME)". The caller frees; NULL without memory. */
char *chg_user(json_t *lease, struct people *people);

/* Is it what the original calls a run? Otherwise it is a manual reservation. */
bool chg_is_run(json_t *lease);

/* {"provider", "model"} of the first of these command lines that names one, or NULL. The caller
 * owns it. */
json_t *chg_model(const char *command);

/* The status of all GPUs from a reply of GetStatus; owned by the caller, NULL without memory.
 * with_pids: process_info names the processes, as the first generation did. */
json_t *chg_status(json_t *reply, struct people *people, int64_t now_us, bool with_pids);

/* What another host sent: only what is known, of the right type, and harmless for terminals. Owned
 * by the caller; NULL: it is no status. */
json_t *chg_known_status(json_t *foreign);

/* The same as "--all --json" of the original has it. */
json_t *chg_raw_status(json_t *statuses);

/* Drawing (canhazgpu_table.c). */
void chg_draw_status(FILE *out, const struct term *term, json_t *statuses);
void chg_draw_readme(FILE *out, json_t *statuses);

struct chg_host {
	const char *name; /* borrowed */
	json_t *statuses; /* owned; NULL: see error */
	char *error;      /* owned; NULL, too: out of memory */
};

/* Why it has no statuses. */
const char *chg_host_error(const struct chg_host *host);

void chg_draw_summary(FILE *out, const struct term *term, const struct chg_host *hosts, size_t n);
void chg_draw_host(FILE *out, const struct term *term, const struct chg_host *host);

/* Asks others over ssh, all at once (canhazgpu_remote.c): fills statuses or error of each. Those
 * that have one already are left alone. meanwhile is called once they are on their way. */
void chg_ask_hosts(
	struct chg_host *hosts, size_t n, void (*meanwhile)(void *userdata), void *userdata);

/* The face. */
int canhazgpu_main(int argc, char **argv);

/* The commands. */
int chg_run(struct chg *chg);
int chg_reserve(struct chg *chg);
int chg_release(struct chg *chg);
int chg_show_status(struct chg *chg);
int chg_queue(struct chg *chg);
int chg_report(struct chg *chg);
int chg_admin(struct chg *chg);
