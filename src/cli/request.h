/* SPDX-License-Identifier: MIT */
/* Asking for GPUs, and waiting for them. */
#pragma once

#include <jansson.h>

#include "cli/cli.h"

/*
 * The parameters of org.dibs.Request from the options, checked; the daemon checks again. kind is
 * "run" or "hold". -EINVAL with a sentence. *ret is owned by the caller.
 */
int request_parameters(
	const struct arguments *args, const char *kind, json_t **ret, struct error *err);

/* Adds what runs, holds and jobs have in common: which GPUs, --time, --note. -EINVAL with a
 * sentence. */
int request_put_gpus(json_t *object, const struct arguments *args, struct error *err);

/* Adds the value of the option opt, of at least min microseconds, or in MiB; text NULL adds
 * nothing. -EINVAL with a sentence. */
int request_put_duration(json_t *object, const char *name, enum opt opt, const char *text,
	int64_t min, struct error *err);
int request_put_size(
	json_t *object, const char *name, enum opt opt, const char *text, struct error *err);

/* Adds what the option opt lists, separated by commas; text NULL adds nothing. -EINVAL with a
 * sentence. */
int request_put_list(
	json_t *object, const char *name, enum opt opt, const char *text, struct error *err);

/*
 * Asks, says on stderr what it waits for, and returns EXIT_OK with the reply that has the granted
 * lease; or the sentence is said already. A daemon that is restarted meanwhile is waited for.
 * parameters is borrowed.
 */
enum client_exit request_wait(struct cli *cli, json_t *parameters, json_t **ret);

/*
 * What a waiting reply says: "waiting for 2 GPUs (#42, position 3): GPU 0 is leased by alice until
 * 18:40".
 */
#define WAITING_SIZE 512
void waiting_text(char dst[WAITING_SIZE], json_t *reply, struct people *people, int64_t now_us);
