/* SPDX-License-Identifier: MIT */
/*
 * Where the process is, and what it may. The directory is what the shell calls it ($PWD, with its
 * links), if that is where we are: so names in the log are those that people know.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/text.h"
#include "cli/cli.h"
#include "cli/submit.h"

#define ID "submit.directory"

static bool is_here(const char *path)
{
	struct stat here, there;

	return path && *path == '/' && stat(".", &here) == 0 && stat(path, &there) == 0 &&
	       here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

static int find_here(char **ret, struct error *err)
{
	const char *pwd = getenv("PWD");
	_cleanup_(freep) char *here = is_here(pwd) ? strdup(pwd) : getcwd(NULL, 0);

	if (!here && errno == ENOMEM)
		return cli_no_memory(err);
	/* What is outside of our root begins with "(unreachable)". */
	if (!here || *here != '/')
		return error_set(err, -EINVAL, ID,
			"the directory that you are in is gone; 'cd' to one that exists, or use "
			"--chdir");
	*ret = TAKE_PTR(here);
	return 0;
}

/* The absolute name of path, for people, without a look at it; the caller frees. */
static int make_absolute(const char *path, char **ret, struct error *err)
{
	_cleanup_(freep) char *here = NULL;

	if (*path == '/') {
		*ret = strdup(path);
	} else {
		if (find_here(&here, err) < 0)
			return -EINVAL;
		*ret = text_format("%s%s%s", here, here[1] ? "/" : "", path);
	}
	return *ret ? 0 : cli_no_memory(err);
}

static int put(json_t *object, const char *name, const char *path, struct error *err)
{
	if (!text_is_utf8(path))
		return error_set(err, -EINVAL, ID, "the name of the %s is not UTF-8", name);
	return cli_put(object, name, json_string(path), err);
}

static int put_directory(json_t *object, const char *chdir, struct error *err)
{
	_cleanup_(freep) char *path = NULL;
	struct stat st;

	if (!chdir)
		return find_here(&path, err) < 0 ? -EINVAL : put(object, "directory", path, err);
	if (stat(chdir, &st) < 0)
		return error_errno(err, -errno, ID, "--chdir: %s", chdir);
	if (!S_ISDIR(st.st_mode))
		return error_set(err, -EINVAL, ID, "--chdir: %s is not a directory", chdir);
	if (make_absolute(chdir, &path, err) < 0)
		return -EINVAL;
	return put(object, "directory", path, err);
}

static int put_venv(json_t *object, const struct arguments *args, struct error *err)
{
	_cleanup_(freep) char *path = NULL, *activate = NULL;
	const char *venv = args->values[OPT_VENV];

	if (args->values[OPT_NO_VENV])
		return put(object, "venv", "", err);
	if (!venv)
		return 0;
	if (make_absolute(venv, &path, err) < 0)
		return -EINVAL;
	activate = text_format("%s/bin/activate", path);
	if (activate && access(activate, R_OK) < 0)
		return error_errno(err, -errno, ID,
			"--venv: %s is no Python environment: cannot read %s", venv, activate);
	return put(object, "venv", path, err);
}

static int put_umask(json_t *object, struct error *err)
{
	mode_t mask = umask(0);

	umask(mask);
	return cli_put(object, "umask", json_integer(mask), err);
}

static const struct {
	const char *name; /* as of prlimit(1) */
	int resource;
} resources[] = {
	{ "as", RLIMIT_AS },
	{ "core", RLIMIT_CORE },
	{ "cpu", RLIMIT_CPU },
	{ "data", RLIMIT_DATA },
	{ "fsize", RLIMIT_FSIZE },
	{ "locks", RLIMIT_LOCKS },
	{ "memlock", RLIMIT_MEMLOCK },
	{ "msgqueue", RLIMIT_MSGQUEUE },
	{ "nofile", RLIMIT_NOFILE },
	{ "nproc", RLIMIT_NPROC },
	{ "rss", RLIMIT_RSS },
	{ "rttime", RLIMIT_RTTIME },
	{ "sigpending", RLIMIT_SIGPENDING },
	{ "stack", RLIMIT_STACK },
};

static int put_limits(json_t *object, struct error *err)
{
	json_t *array = json_array();

	if (cli_put(object, "limits", array, err) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < ELEMENTSOF(resources); i++) {
		_cleanup_(freep) char *text = NULL;
		struct rlimit limit;

		if (getrlimit(resources[i].resource, &limit) < 0)
			continue;
		text = limit.rlim_cur == RLIM_INFINITY
			       ? text_format("%s:unlimited", resources[i].name)
			       : text_format("%s:%" PRIu64, resources[i].name,
					 (uint64_t)limit.rlim_cur);
		if (!text || json_array_append_new(array, json_string(text)) < 0)
			return cli_no_memory(err);
	}
	return 0;
}

int submit_surroundings(const struct arguments *args, json_t *object, struct error *err)
{
	int r = put_directory(object, args->values[OPT_CHDIR], err);

	if (r == 0)
		r = put_venv(object, args, err);
	if (r == 0)
		r = put_umask(object, err);
	return r == 0 ? put_limits(object, err) : r;
}
