/* SPDX-License-Identifier: MIT */
/* What every verb works with, and the verbs. */
#pragma once

#include <jansson.h>

#include "cli/options.h"
#include "cli/people.h"
#include "cli/term.h"
#include "proto/message.h"

struct cli {
	struct arguments args;
	struct term term; /* standard output */
	struct people people;
};

static inline const char *cli_value(const struct cli *cli, enum opt opt)
{
	return cli->args.values[opt];
}

/* How a face says what dibs would say itself. */
struct manner {
	/* A sentence, without control characters, about what ends with exit. */
	void (*complain)(struct manner *manner, enum client_exit exit, const char *text);
	/* A waiting reply of Request; NULL: in dibs's own words. */
	void (*wait)(struct manner *manner, json_t *reply);
};

/* For the whole process; NULL: dibs's own. Borrowed. */
void cli_set_manner(struct manner *manner);
struct manner *cli_manner(void);

/* Says "dibs: ..." on stderr, without control characters, and returns exit. */
enum client_exit complain(enum client_exit exit, const char *fmt, ...) _printf_(2, 3);

/* The same with a sentence of the daemon, which names people by number. */
enum client_exit complain_error(struct cli *cli, enum client_exit exit, const struct error *err);

/* One call; on failure the sentence is said already. *ret is owned by the caller. */
enum client_exit cli_call(struct cli *cli, const char *method, json_t *parameters, json_t **ret);

/* Sets err, and returns -ENOMEM. */
int cli_no_memory(struct error *err);

/* Sets name of object to value, which it takes; one that could not be made is a lack of memory. */
int cli_put(json_t *object, const char *name, json_t *value, struct error *err);

/* Prints JSON for programs. */
enum client_exit cli_print_json(json_t *json);

/* The same for an array of leases, each as public_lease() or public_ended() has it. */
enum client_exit cli_print_leases(
	struct cli *cli, json_t *leases, json_t *(*fn)(json_t *wire, struct people *people));

enum client_exit verb_status(struct cli *cli);
enum client_exit verb_run(struct cli *cli);
enum client_exit verb_reserve(struct cli *cli);
enum client_exit verb_extend(struct cli *cli);
enum client_exit verb_release(struct cli *cli);
enum client_exit verb_shrink(struct cli *cli);
enum client_exit verb_give(struct cli *cli);
enum client_exit verb_gpus(struct cli *cli);
enum client_exit verb_list(struct cli *cli);
enum client_exit verb_queue(struct cli *cli);
enum client_exit verb_show(struct cli *cli);
enum client_exit verb_submit(struct cli *cli);
enum client_exit verb_logs(struct cli *cli);
enum client_exit verb_cancel(struct cli *cli);
enum client_exit verb_hold(struct cli *cli);
enum client_exit verb_resume(struct cli *cli);
enum client_exit verb_requeue(struct cli *cli);
enum client_exit verb_suspend(struct cli *cli);
enum client_exit verb_wait(struct cli *cli);
enum client_exit verb_exec(struct cli *cli);
enum client_exit verb_history(struct cli *cli);
enum client_exit verb_report(struct cli *cli);
enum client_exit verb_doctor(struct cli *cli);
enum client_exit verb_selftest(struct cli *cli);
enum client_exit verb_admin_drain(struct cli *cli);
enum client_exit verb_admin_undrain(struct cli *cli);
enum client_exit verb_admin_release(struct cli *cli);
enum client_exit verb_admin_guard(struct cli *cli);
enum client_exit verb_admin_sensor(struct cli *cli);
enum client_exit verb_admin_import(struct cli *cli);
