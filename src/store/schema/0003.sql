-- SPDX-License-Identifier: MIT
-- Holds that end with a process, and what was taken over from other tools.

ALTER TABLE lease ADD COLUMN bound TEXT NOT NULL DEFAULT 'not';

-- What each record was called where it came from: none is taken over twice.
CREATE TABLE import (
	origin TEXT NOT NULL PRIMARY KEY,
	lease  BIGINT NOT NULL
) {CLUSTERED};
