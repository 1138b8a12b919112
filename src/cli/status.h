/* SPDX-License-Identifier: MIT */
/* The picture of the whole machine. */
#pragma once

#include "cli/table.h"

/* Draws a reply of org.dibs.GetStatus, with view->leases its leases. -ENOMEM. */
int status_draw(FILE *out, const struct view *view, json_t *reply);
