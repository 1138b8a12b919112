/* SPDX-License-Identifier: MIT */
/* Handing in a batch job: what the command line says, and what the calling process has. */
#pragma once

#include <jansson.h>

#include "cli/cli.h"
#include "cli/script.h"

/* Adds the options as parameters of org.dibs.Submit, but those of directory, environment and venv.
 * -EINVAL with a sentence. */
int submit_options(const struct arguments *args, json_t *object, struct error *err);

/* Are the values of all its options what they have to be? -EINVAL with a sentence. */
int submit_check(const struct arguments *args, struct error *err);

/*
 * Adds to high what only low says. Both lists of --env are kept, those of high count more; --after
 * of high stands for that of low, unless they are alike: lines of one script. An option also hides
 * its rivals, as --venv does --no-venv. -EINVAL if there are too many.
 */
enum merge { MERGE_BELOW, MERGE_ALIKE };
int submit_merge(
	struct arguments *high, const struct arguments *low, enum merge how, struct error *err);

/*
 * A moment after now as CLOCK_REALTIME in microseconds: "20:00" (the next), "tomorrow 08:00",
 * "2026-12-01 08:00", "2026-12-01T08:00:00+01:00", "+2h", or seconds since 1970. -EINVAL with a
 * sentence.
 */
int submit_parse_begin(const char *text, int64_t now_us, int64_t *ret_us, struct error *err);

/* "USR1", "SIGUSR1" or "10". -EINVAL. */
int signal_parse(const char *text, int *ret);

/*
 * The environment of a job as an array of "NAME=value", from that of the process and the options.
 * notes gets sentences about what was left out for a defect. -EINVAL with a sentence: it is too
 * large (room: bytes that it may have), or a value of --env is no such thing. *ret is owned by the
 * caller.
 */
int submit_environment(char *const *variables, const struct arguments *args, size_t room,
	json_t **ret, struct strings *notes, struct error *err);

/* Adds directory, venv, umask and limits: where the process is, what it may. -EINVAL with a
 * sentence. */
int submit_surroundings(const struct arguments *args, json_t *object, struct error *err);

/* All parameters of org.dibs.Submit for a command (behind "--", no script), from the command line
 * and from what the process has. notes gets sentences about what was left out. -EINVAL with a
 * sentence. *ret is owned by the caller. */
int submit_parameters(struct cli *cli, json_t **ret, struct strings *notes, struct error *err);

/* Bytes of parameters as a spec (see above), without an environment. */
size_t submit_size(json_t *parameters);
