/* SPDX-License-Identifier: MIT */
/* Looked up in /etc/passwd itself: a directory service that does not answer must not hold up the
 * daemon. */
#include "daemon/service_user.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"

#define NOBODY 65534

void service_user(const struct manager *m, uid_t *ret_uid, gid_t *ret_gid)
{
	_cleanup_(fclosep) FILE *passwd = NULL;
	struct passwd *entry;

	*ret_uid = (uid_t)-1;
	*ret_gid = (gid_t)-1;
	if (!m->root)
		return;
	*ret_uid = *ret_gid = NOBODY;
	passwd = fopen("/etc/passwd", "re");
	while (passwd && (entry = fgetpwent(passwd)))
		if (strcmp(entry->pw_name, "dibs") == 0) {
			*ret_uid = entry->pw_uid;
			*ret_gid = entry->pw_gid;
		}
}
