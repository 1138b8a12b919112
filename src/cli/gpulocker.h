/* SPDX-License-Identifier: MIT */
/*
 * The settings of GPULocker, as those of dibs. Known are the names of its first version
 * (USER_PENALTY, CHECK_FOR_IDLE_GPU, ...), of the present one (USER_LOCKOUT_HOURS, ...) and of the
 * fork that bounds reservations (MAX_RESERVERVATION_DAYS, written like that).
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "cli/env_file.h"

#define GPULOCKER_GROUP "dibs-admin" /* whose members are to be administrators */

struct gpulocker_counts {
	unsigned taken;   /* settings that dibs has, too */
	unsigned other;   /* those that it does otherwise, or has not */
	unsigned secret;  /* of these, whose values are not for eyes */
	unsigned unknown; /* names that GPULocker does not know either */
};

/*
 * Writes a dibs.conf that dibsd accepts, with comments. path is what to call the file; has_group:
 * there is GPULOCKER_GROUP already. -EINVAL with "path:line: ...", before anything is written.
 */
int gpulocker_write(const struct env_file *env, const char *path, bool has_group, FILE *out,
	struct gpulocker_counts *ret, struct error *err);
