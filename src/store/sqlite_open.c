/* SPDX-License-Identifier: MIT */
/*
 * From a directory to a store that can be trusted, or a refusal that has changed nothing.
 *
 * A new database is built under another name and renamed when it is complete, so that dibs.db is
 * never half made: an empty or short file under that name is always damage. An existing one is read
 * through (quick_check) before anything may write to it; until then closing it does not even move
 * its -wal file into it, so that what is damaged stays byte for byte what it was.
 *
 * locking_mode=EXCLUSIVE keeps every other program out, two daemons above all, and the index of the
 * -wal file in memory instead of a shared file.
 */
#include "store/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define NAME "dibs.db"

extern const char schema_0001[], schema_0002[], schema_0003[];

static void disconnectp(struct sqlite **s)
{
	if (*s)
		sqlite_close(&(*s)->store);
}

static int open_directory(const char *directory, char **ret_path, int *ret_fd, struct error *err)
{
	/* The state directory itself may be reached by a link; SQLITE_OPEN_NOFOLLOW is about all of
	 * the path, so it gets one without. */
	_cleanup_(freep) char *path = realpath(directory, NULL);
	int fd;

	if (!path)
		return error_errno(err, -errno, "store.directory",
			"cannot use the state directory %s", directory);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, -errno, "store.directory",
			"cannot use the state directory %s", directory);
	*ret_path = TAKE_PTR(path);
	*ret_fd = fd;
	return 0;
}

/* 1 if there is a file that can be written, 0 if there is none. SQLite would silently go on
 * read-only with one that cannot. */
static int look(int dirfd, const char *directory, struct error *err)
{
	_cleanup_(closep) int fd =
		openat(dirfd, NAME, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return error_errno(err, -errno, "store.read-only",
			"cannot open %s/" NAME " to write", directory);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, -EUCLEAN, "store.damaged",
			"%s/" NAME " is not a regular file; move it away to start empty",
			directory);
	return 1;
}

static int connect(const char *directory, const char *name, struct sqlite **ret, struct error *err)
{
	_cleanup_(disconnectp) struct sqlite *s = NULL;
	char *path = NULL;
	int r;

	if (asprintf(&path, "%s/%s", directory, name) < 0 || !(s = sqlite_new(path)))
		return error_set(
			err, -ENOMEM, "store.memory", "no memory left to open %s", directory);
	r = sqlite3_open_v2(path, &s->db,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX, NULL);
	if (r != SQLITE_OK)
		return sqlite_fail(s, err);
	sqlite3_extended_result_codes(s->db, 1);
	sqlite3_busy_timeout(s->db, 100);
	sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	r = sqlite_exec(s,
		"PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL; "
		"PRAGMA foreign_keys = ON; PRAGMA cache_size = -1024",
		err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

static int check_result(void *userdata, int n, char **values, char **names)
{
	struct error *detail = userdata;

	if (strcmp(values[0], "ok") != 0)
		error_set(detail, -EUCLEAN, "store.damaged", "%s", values[0]);
	return 0;
}

/* Looks at the structure of all pages. CHECK constraints would take seven times as long (4 s with a
 * million journal lines), and the words that they watch over are checked when they are read. */
static int check(struct sqlite *s, struct error *err)
{
	static const char sql[] = "PRAGMA ignore_check_constraints = ON; PRAGMA quick_check(1); "
				  "PRAGMA ignore_check_constraints = OFF";
	struct error found = { 0 };

	if (sqlite3_exec(s->db, sql, check_result, &found, NULL) != SQLITE_OK)
		return sqlite_fail(s, err);
	return found.id ? sqlite_damaged(s, err, "%s", found.text) : 0;
}

static int create(int dirfd, const char *directory, const char *const *steps, unsigned n_steps,
	struct error *err)
{
	static const char *const leftovers[] = { NAME ".new", NAME ".new-journal" };
	_cleanup_(disconnectp) struct sqlite *s = NULL;
	_cleanup_(closep) int fd = -1;
	int r;

	/* SQLite would play what is in it into the new file. */
	if (faccessat(dirfd, NAME "-wal", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return error_set(err, -EUCLEAN, "store.damaged",
			"%s/" NAME "-wal is there without its " NAME
			"; put that back, or move the -wal file away too to start empty",
			directory);
	for (unsigned i = 0; i < ELEMENTSOF(leftovers); i++)
		if (unlinkat(dirfd, leftovers[i], 0) < 0 && errno != ENOENT)
			return error_errno(err, -errno, "store.read-only", "cannot remove %s/%s",
				directory, leftovers[i]);
	fd = openat(dirfd, NAME ".new", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(
			err, -errno, "store.read-only", "cannot make %s/" NAME ".new", directory);

	r = connect(directory, NAME ".new", &s, err);
	/* Small, because each page that a commit touches is written as a whole. */
	if (r == 0)
		r = sqlite_exec(s, "PRAGMA page_size = 1024", err);
	if (r == 0)
		r = sqlite_migrate(s, steps, n_steps, true, err);
	if (r < 0)
		return r;
	if (renameat(dirfd, NAME ".new", dirfd, NAME) < 0 || fsync(dirfd) < 0)
		return error_errno(
			err, -errno, "store.read-only", "cannot make %s/" NAME, directory);
	return 0;
}

static int start_wal(struct sqlite *s, struct error *err)
{
	int r = sqlite_exec(s, "PRAGMA journal_mode = WAL", err);

	if (r == 0)
		sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
	return r;
}

int sqlite_open(const char *directory, const char *const *steps, unsigned n_steps,
	struct store **ret, struct error *err)
{
	_cleanup_(disconnectp) struct sqlite *s = NULL;
	_cleanup_(freep) char *path = NULL;
	_cleanup_(closep) int dirfd = -1;
	int r;

	/* One thread. Too late, and of no harm, if this program has used SQLite before. */
	sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	r = open_directory(directory, &path, &dirfd, err);
	if (r < 0)
		return r;
	r = look(dirfd, path, err);
	if (r == 0)
		r = create(dirfd, path, steps, n_steps, err);
	if (r < 0)
		return r;

	r = connect(path, NAME, &s, err);
	if (r == 0)
		r = check(s, err);
	if (r == 0)
		r = sqlite_migrate(s, steps, n_steps, false, err);
	if (r == 0)
		r = start_wal(s, err);
	if (r == 0)
		r = sqlite_prepare(s, err);
	if (r < 0)
		return r;
	*ret = &TAKE_PTR(s)->store;
	return 0;
}

int store_open_sqlite(const char *directory, struct store **ret, struct error *err)
{
	static const char *const steps[] = { schema_0001, schema_0002, schema_0003 };

	return sqlite_open(directory, steps, ELEMENTSOF(steps), ret, err);
}
