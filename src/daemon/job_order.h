/* SPDX-License-Identifier: MIT */
/* What a supervisor is told to do: see priv/supervisor.h for the fields. */
#pragma once

#include "daemon/manager.h"
#include "priv/supervisor.h"

/* For the next attempt of a job that holds its GPUs. */
int job_order(
	struct manager *m, const struct lease *lease, struct fields_writer *ret, struct error *err);
