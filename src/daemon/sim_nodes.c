/* SPDX-License-Identifier: MIT */
#include "daemon/sim_nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

static int make_node(int directory, const struct gpu_node *node)
{
	dev_t device = makedev(node->major, node->minor);
	char name[32];
	struct stat st;

	snprintf(name, sizeof(name), "nvidia%u", node->minor);
	if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(st.st_mode) &&
		st.st_rdev == device)
		return 0;
	if (unlinkat(directory, name, 0) < 0 && errno != ENOENT)
		return -errno;
	if (mknodat(directory, name, S_IFCHR | 0666, device) < 0 ||
		fchmodat(directory, name, 0666, 0) < 0) /* whatever the umask says */
		return -errno;
	return 0;
}

/* STATE/dev, which everybody may search; what else is in STATE stays shut by its own mode. */
static int open_directory(const char *state)
{
	_cleanup_(closep) int fd = open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int dev;

	if (fd < 0 || (mkdirat(fd, "dev", 0755) < 0 && errno != EEXIST) || fchmod(fd, 0711) < 0)
		return -errno;
	dev = openat(fd, "dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return dev < 0 || fchmod(dev, 0755) < 0 ? -errno : dev;
}

void sim_nodes_make(struct manager *m)
{
	_cleanup_(closep) int directory = open_directory(m->state);
	int r = MIN(directory, 0);

	for (unsigned slot = 0; r >= 0 && slot < m->pool->n_gpus; slot++)
		for (unsigned i = 0; r >= 0 && i < m->pool->gpus[slot].n_nodes; i++)
			r = make_node(directory, &m->pool->gpus[slot].nodes[i]);
	if (r < 0)
		log_warning(
			"cannot make device nodes in %s/dev: %s", m->state, strerrordesc_np(-r));
}
