/* SPDX-License-Identifier: MIT */
/*
 * [hook] on-event: the way mail, chat and scripts of the site attach. The program runs as the user
 * of the sensor, with one event as JSON on its standard input. A few at a time, each for a bounded
 * time; those that wait are bounded too, and what is dropped is logged. Nothing waits for a hook.
 */
#pragma once

#include "daemon/manager.h"
#include "model/event.h"

struct hook;

int hook_new(struct manager *m, struct hook **ret);
struct hook *hook_free(struct hook *hook);

/* An event that was stored. */
void hook_event(struct manager *m, const struct event *event);
