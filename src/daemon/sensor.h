/* SPDX-License-Identifier: MIT */
/*
 * The link to dibs-sensor: starts it, reads its lines, kills it when it is silent for too long,
 * starts it again with a growing pause. Leases do not depend on it.
 */
#pragma once

#include "daemon/manager.h"

int sensor_new(struct manager *m, const char *sim, struct sensor **ret, struct error *err);
struct sensor *sensor_free(struct sensor *sensor);

/* Starts the first one. manager_ready is called when the first sample came, or did not come in
 * time. */
int sensor_start(struct sensor *sensor, struct error *err);

/* No sensor runs and no lease starts, until resume. -EBUSY: its process does not end. */
int sensor_pause(struct sensor *sensor, struct error *err);
void sensor_resume(struct sensor *sensor);
bool sensor_paused(const struct sensor *sensor);

/* Another process in its place, which knows nothing of what this one saw. */
void sensor_restart(struct sensor *sensor);

/* The user that it runs as if nobody else runs as that one, so that it can be let through a gate;
 * else -1. */
uid_t sensor_user(const struct sensor *sensor);
