/* SPDX-License-Identifier: MIT */
/*
 * What only a store on a disk can get wrong: crashes, damage, a full or read-only disk, versions.
 * A full and a read-only file system are a tmpfs in a mount namespace of this process.
 */
#include "store/sqlite.h"

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "fixture.h"

extern const char schema_0001[], schema_0002[], schema_0003[];

static struct store *open_here(const char *directory)
{
	struct error err = { 0 };
	struct store *store = NULL;

	if (store_open_sqlite(directory, &store, &err) < 0) {
		printf("Bail out! %s\n", err.text);
		exit(1);
	}
	return store;
}

static char *path_of(const char *directory, const char *name)
{
	return text_format("%s/%s", directory, name);
}

/* A transaction as the daemon makes it. Returns 0 or the error, rolled back. */
static int try_one(struct store *store, int64_t id, struct error *err)
{
	_pool_ struct pool *pool = new_pool(1, false);
	_lease_ struct lease *lease = new_lease(id, LEASE_WAITING);
	struct event event = { .kind = EVENT_QUEUED, .lease = id, .detail = "waits for its turn" };
	int r;

	lease->request.note = strdup("a note that takes up some room in the database, as notes do");
	r = store->ops->begin(store, err);
	if (r == 0)
		r = store->ops->put_lease(store, pool, lease, err);
	if (r == 0)
		r = store->ops->add_event(store, &event, err);
	if (r == 0)
		r = store->ops->commit(store, err);
	if (r < 0)
		store->ops->rollback(store);
	return r;
}

static void fill(struct store *store, int n)
{
	for (int i = 1; i <= n; i++)
		CHECK_INT(try_one(store, i, NULL), 0);
}

static size_t count_leases(struct store *store)
{
	_pool_ struct pool *pool = load(store, NULL);

	return pool->n_leases;
}

static void is_private(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = NULL;
	mode_t mask = umask(0);
	const struct dirent *entry;
	DIR *dir;

	store = open_here(directory);
	fill(store, 1);
	umask(mask);
	dir = opendir(directory);
	while ((entry = readdir(dir))) {
		struct stat st;

		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISREG(st.st_mode))
			CHECK_INT(st.st_mode & 0777, 0600);
	}
	closedir(dir);
}

static void is_there_again_after_close(void)
{
	_directory_ char *directory = new_directory();
	_cleanup_(freep) char *wal = path_of(directory, "dibs.db-wal");
	_store_ struct store *store = open_here(directory);

	fill(store, 10);
	store->ops->close(TAKE_PTR(store));
	CHECK(access(wal, F_OK) < 0); /* all of it is in the one file */
	store = open_here(directory);
	CHECK_INT(count_leases(store), 10);
}

/* Runs in a child until it is killed: commits leases 1, 2, ... and says so after each. */
static void commit_forever(const char *directory, int fd)
{
	struct store *store = open_here(directory);
	_pool_ struct pool *pool = load(store, NULL);

	for (int64_t id = (int64_t)pool->n_leases + 1;; id++)
		if (try_one(store, id, NULL) < 0 || write(fd, &id, sizeof(id)) != sizeof(id))
			_exit(1);
}

/* What was said to be committed is there, and at most the one that was on its way besides. */
static void survives_kill_in_the_middle(void)
{
	_directory_ char *directory = new_directory();
	int64_t said = 0;

	for (int round = 0; round < 20; round++) {
		int pipes[2];
		int64_t id, next_id;
		pid_t child;

		CHECK_INT(pipe(pipes), 0);
		child = fork();
		if (child == 0)
			commit_forever(directory, pipes[1]);
		close(pipes[1]);
		for (int i = 0; i <= round && read(pipes[0], &id, sizeof(id)) == sizeof(id); i++)
			said = id;
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		while (read(pipes[0], &id, sizeof(id)) == sizeof(id))
			said = id;
		close(pipes[0]);

		_store_ struct store *store = open_here(directory);
		_pool_ struct pool *pool = load(store, &next_id);

		CHECK(next_id - 1 == said || next_id - 1 == said + 1);
		CHECK_INT(pool->n_leases, next_id - 1);
		said = next_id - 1;
	}
	CHECK(said > 20);
}

static void abandoned_transaction_is_gone(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = NULL;
	pid_t child = fork();

	if (child == 0) {
		_pool_ struct pool *pool = new_pool(1, false);
		_lease_ struct lease *lease = new_lease(2, LEASE_WAITING);

		store = open_here(directory);
		fill(store, 1);
		begin(store);
		store->ops->put_lease(store, pool, lease, NULL);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	store = open_here(directory);
	CHECK_INT(count_leases(store), 1);
	fill(store, 2);
}

static void lets_nobody_else_in(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = open_here(directory);
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		struct store *second;

		_exit(-store_open_sqlite(directory, &second, NULL));
	}
	waitpid(child, &status, 0);
	CHECK(WIFEXITED(status));
	CHECK_INT(WEXITSTATUS(status), EBUSY);
	fill(store, 1);
}

/* Files as a whole */

struct bytes {
	char *data;
	size_t size;
};

static void bytes_clear(struct bytes *bytes)
{
	free(bytes->data);
}

#define _bytes_ _cleanup_(bytes_clear)

static struct bytes read_bytes(const char *path)
{
	struct bytes bytes = { 0 };
	struct stat st;
	FILE *file = fopen(path, "re");

	if (!file || fstat(fileno(file), &st) < 0 || !(bytes.data = malloc((size_t)st.st_size + 1)))
		abort();
	bytes.size = fread(bytes.data, 1, (size_t)st.st_size, file);
	fclose(file);
	return bytes;
}

static void write_bytes(const char *path, struct bytes bytes)
{
	FILE *file = fopen(path, "we");

	if (!file || fwrite(bytes.data, 1, bytes.size, file) != bytes.size || fclose(file) != 0)
		abort();
}

static bool same_bytes(struct bytes a, struct bytes b)
{
	return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

static void check_refused(const char *directory, int code, const char *id)
{
	_cleanup_(freep) char *path = path_of(directory, "dibs.db");
	_bytes_ struct bytes before = read_bytes(path), after = { 0 };
	_store_ struct store *store = NULL;
	struct error err = { 0 };

	CHECK_INT(store_open_sqlite(directory, &store, &err), code);
	CHECK_STR(err.id, id);
	CHECK(strstr(err.text, path) != NULL);
	CHECK(!store);
	after = read_bytes(path);
	CHECK(same_bytes(before, after));
}

static void refuses_a_damaged_file_and_keeps_it(void)
{
	static const size_t sizes[] = { 0, 1, 100, 1000, 4096, 5000, 20000 };
	_directory_ char *directory = new_directory();
	_cleanup_(freep) char *path = path_of(directory, "dibs.db");
	_bytes_ struct bytes good = { 0 }, bad = { 0 };
	_store_ struct store *store = open_here(directory);

	fill(store, 100);
	store->ops->close(TAKE_PTR(store));
	good = read_bytes(path);
	CHECK(good.size > 20000);

	for (unsigned i = 0; i < ELEMENTSOF(sizes); i++) {
		write_bytes(path, (struct bytes){ good.data, sizes[i] });
		check_refused(directory, -EUCLEAN, "store.damaged");
	}
	bad = read_bytes(path);
	bad.data = realloc(bad.data, good.size);
	bad.size = good.size;
	for (size_t page = 0; page < good.size; page += 4096) {
		memcpy(bad.data, good.data, good.size);
		for (size_t i = page; i < MIN(page + 4096, good.size); i++)
			bad.data[i] = (char)~bad.data[i];
		write_bytes(path, bad);
		check_refused(directory, -EUCLEAN, "store.damaged");
	}
	memset(bad.data, 'x', 100);
	write_bytes(path, bad);
	check_refused(directory, -EUCLEAN, "store.damaged");

	/* And the test itself: the same file, undamaged, opens. */
	write_bytes(path, good);
	store = open_here(directory);
	CHECK_INT(count_leases(store), 100);
}

static void keeps_the_wal_of_a_damaged_file_too(void)
{
	_directory_ char *directory = new_directory();
	_cleanup_(freep) char *path = path_of(directory, "dibs.db");
	_cleanup_(freep) char *wal = path_of(directory, "dibs.db-wal");
	_bytes_ struct bytes good = { 0 }, before = { 0 }, after = { 0 }, later = { 0 };
	_store_ struct store *store = open_here(directory);
	struct error err = { 0 };
	pid_t child;

	fill(store, 100);
	store->ops->close(TAKE_PTR(store));
	child = fork();
	if (child == 0) {
		store = open_here(directory);
		_exit(try_one(store, 101, NULL) < 0);
	}
	waitpid(child, NULL, 0);
	good = read_bytes(path);
	before = read_bytes(wal);
	CHECK(before.size > 4096);

	write_bytes(path, (struct bytes){ good.data, 20000 / 4096 * 4096 });
	check_refused(directory, -EUCLEAN, "store.damaged");
	after = read_bytes(wal);
	CHECK(same_bytes(before, after));

	/* A -wal file alone belongs to nothing. */
	CHECK_INT(unlink(path), 0);
	CHECK_INT(store_open_sqlite(directory, &store, &err), -EUCLEAN);
	CHECK(strstr(err.text, wal) != NULL);
	later = read_bytes(wal);
	CHECK(same_bytes(before, later));
	CHECK(access(path, F_OK) < 0);

	write_bytes(path, good);
	store = open_here(directory);
	CHECK_INT(count_leases(store), 101);
}

static void refuses_what_is_no_database_of_dibs(void)
{
	_directory_ char *directory = new_directory();
	_cleanup_(freep) char *path = path_of(directory, "dibs.db");
	_cleanup_(freep) char *elsewhere = path_of(directory, "elsewhere");
	_store_ struct store *store = NULL;
	sqlite3 *db;

	CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
	CHECK_INT(sqlite3_exec(db, "CREATE TABLE people (name TEXT)", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	check_refused(directory, -EUCLEAN, "store.damaged");

	CHECK_INT(rename(path, elsewhere), 0);
	CHECK_INT(symlink("elsewhere", path), 0);
	check_refused(directory, -ELOOP, "store.read-only");
	CHECK_INT(unlink(path), 0);
	CHECK_INT(mkfifo(path, 0600), 0);
	CHECK_INT(store_open_sqlite(directory, &store, NULL), -EUCLEAN);
}

/* They are off while a file is checked. */
static void enforces_its_rules_when_open(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = open_here(directory);
	struct sqlite *s = (struct sqlite *)store;

	CHECK_INT(sqlite_exec(s, "INSERT INTO meta VALUES (2, '', 0, 0, 0)", NULL), -EINVAL);
	CHECK_INT(sqlite_exec(s, "INSERT INTO holder VALUES ('GPU-9', 0, 7, 0)", NULL), -EINVAL);
	fill(store, 2);
	CHECK_INT(sqlite_exec(s, "INSERT INTO holder VALUES ('GPU-9', 0, 1, 0)", NULL), 0);
	CHECK_INT(sqlite_exec(s, "INSERT INTO holder VALUES ('GPU-9', 0, 2, 0)", NULL), -EEXIST);
	CHECK_INT(sqlite_exec(s, "INSERT INTO holder VALUES ('GPU-9', 2, 2, 0)", NULL), -EINVAL);
	CHECK_INT(sqlite_exec(s, "INSERT INTO holder VALUES ('GPU-8', 0, 2, 9)", NULL), -EINVAL);
	CHECK_INT(sqlite_exec(s, "DELETE FROM lease WHERE id = 1", NULL), -EINVAL);
}

/* Each a row that no dibsd wrote; said by name of the file and the table. */
static void refuses_damaged_rows(void)
{
	static const struct {
		const char *sql, *table;
	} cases[] = {
		{ "UPDATE job SET on_limit = 'explode'", "lease" },
		{ "UPDATE job SET job_then = ''", "lease" },
		{ "UPDATE job SET needs = '41:maybe'", "lease" },
		{ "UPDATE job SET needs = '41'", "lease" },
		{ "UPDATE job SET needs = '0:ok'", "lease" },
		{ "UPDATE job SET needs = '-3:ok'", "lease" },
		{ "UPDATE job SET needs = '41:ok,'", "lease" },
		{ "UPDATE job SET needs = substr(replace(hex(zeroblob(65)), '00', ',41:ok'), 2)",
			"lease" },
		{ "UPDATE job SET pending = '3-1'", "lease" },
		{ "UPDATE job SET pending = 'all'", "lease" },
		{ "DELETE FROM job", "lease" },
		{ "UPDATE lease SET ended_by = 'magic'", "lease" },
	};
	_directory_ char *directory = new_directory();
	_pool_ struct pool *pool = new_pool(1, false);

	for (unsigned i = 0; i < ELEMENTSOF(cases); i++) {
		_store_ struct store *store = open_here(directory);
		_lease_ struct lease *lease = new_lease(1, LEASE_WAITING), *got = NULL;
		_pool_ struct pool *loaded = pool_new();
		struct clock_mark mark;
		struct error err = { 0 };
		int64_t next_id;

		add_job(lease);
		put_lease(store, pool, lease);
		CHECK_INT(sqlite_exec((struct sqlite *)store, cases[i].sql, NULL), 0);
		CHECK_INT(store->ops->load(store, loaded, &next_id, &mark, &err), -EUCLEAN);
		CHECK_STR(err.id, "store.damaged");
		CHECK(strstr(err.text, directory) && strstr(err.text, cases[i].table));
		CHECK_INT(store->ops->get_lease(store, pool, 1, &got, NULL), -EUCLEAN);
		CHECK(!got);
		put_lease(store, pool, lease); /* and the test itself: */
		CHECK_INT(count_leases(store), 1);
	}
}

static int no_usage(const struct usage *usage, void *userdata)
{
	return 0;
}

static void refuses_damaged_lines_of_the_account(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = open_here(directory);
	struct usage usage = { .lease = 1, .to_us = 9 }, sum;
	struct error err = { 0 }, other = { 0 };
	int64_t cursor = 0, held_us;

	begin(store);
	CHECK_INT(store->ops->add_usage(store, &usage, NULL), 0);
	commit(store);
	CHECK_INT(sqlite_exec((struct sqlite *)store, "UPDATE usage SET kind = '?'", NULL), 0);
	CHECK_INT(store->ops->usage_between(store, 0, 99, &cursor, 9, no_usage, NULL, &err),
		-EUCLEAN);
	CHECK(strstr(err.text, "usage") != NULL);
	CHECK_INT(store->ops->usage_of_lease(store, 1, &sum, &held_us, &other), -EUCLEAN);
	CHECK_STR(other.id, "store.damaged");
}

/* Versions */

static const char *const more_steps[] = { schema_0001, schema_0002, schema_0003,
	"CREATE TABLE extra (id {ID}, x TEXT);" };

static void migrates_and_keeps_a_copy(void)
{
	_directory_ char *directory = new_directory(), *other = new_directory();
	_cleanup_(freep) char *copy = path_of(directory, "dibs.db.v3");
	_cleanup_(freep) char *restored = path_of(other, "dibs.db");
	_store_ struct store *store = open_here(directory);
	struct stat st;

	fill(store, 10);
	store->ops->close(TAKE_PTR(store));
	CHECK_INT(sqlite_open(directory, more_steps, ELEMENTSOF(more_steps), &store, NULL), 0);
	CHECK_INT(count_leases(store), 10);
	CHECK_INT(
		sqlite_exec((struct sqlite *)store, "INSERT INTO extra (x) VALUES ('y')", NULL), 0);
	store->ops->close(TAKE_PTR(store));

	check_refused(directory, -EPROTO, "store.newer");

	CHECK_INT(stat(copy, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0600);
	CHECK_INT(rename(copy, restored), 0);
	store = open_here(other);
	CHECK_INT(count_leases(store), 10);
}

static void run_sql(const char *path, const char *sql)
{
	sqlite3 *db;
	char *message = NULL;

	CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
	CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, &message), SQLITE_OK);
	if (message)
		printf("# %s\n", message);
	sqlite3_free(message);
	sqlite3_close(db);
}

/* A file as the first version made it: it is all there, and its GPUs stay with who holds them. */
static void brings_a_file_of_the_first_version_along(void)
{
	static const char *const first_step[] = { schema_0001 };
	_directory_ char *directory = new_directory();
	_cleanup_(freep) char *path = path_of(directory, "dibs.db");
	_store_ struct store *store = NULL;
	_pool_ struct pool *pool = NULL, *empty = new_pool(3, false);
	_lease_ struct lease *next = new_lease(13, LEASE_ACTIVE), *ended = NULL;
	struct lease *held, *waiting;

	/* The file is made, but does not have what this program asks it for. */
	CHECK(sqlite_open(directory, first_step, 1, &store, NULL) < 0);
	run_sql(path, "INSERT INTO gpu VALUES ('GPU-0', 'A100', '', 'nvidia', 0, 0, '', 1000, 0, "
		      "'', 0, 0, 0, ''), "
		      "('GPU-1', 'A100', '', 'nvidia', 1, 1, '', 1000, 0, '', 0, 0, 0, '');"
		      "INSERT INTO lease VALUES "
		      "(10, 'hold', 'ended', 'expired', 1000, 1, NULL, NULL, 0, 1, 1, 0, NULL, "
		      "NULL, 1, 2, "
		      "3, 4, 5, 6, 0, 0, NULL, 'GPU-0'), "
		      "(11, 'run', 'active', 'none', 1001, 2, NULL, NULL, 0, 1, 1, 0, 'mine', "
		      "NULL, 1, 2, "
		      "30, 4, 5, 0, 7, 8, '/c', 'GPU-0,GPU-1'), "
		      "(12, 'hold', 'waiting', 'none', 1002, 1, NULL, NULL, 0, 1, 1, 0, NULL, "
		      "NULL, 1, 2, "
		      "0, 4, 5, 0, 0, 0, NULL, '');"
		      "INSERT INTO holder VALUES ('GPU-0', 11), ('GPU-1', 11)");
	store = open_here(directory);
	pool = load(store, NULL);
	CHECK_INT(pool->n_gpus, 2);
	CHECK_INT(pool->n_leases, 2);
	held = pool->leases[0];
	waiting = pool->leases[1];
	CHECK_INT(held->id, 11);
	CHECK(held->gid == (gid_t)-1);
	CHECK_INT(held->turn, 11);
	CHECK_INT(held->started_us, 30);
	CHECK(held->request.share_mib == 0 && !held->job);
	CHECK_STR(held->request.note, "mine");
	CHECK_STR(held->cgroup, "/c");
	CHECK_INT(gpu_set_count(&held->gpus), 2);
	CHECK_INT(waiting->turn, 12);
	CHECK_INT(waiting->started_us, 0);
	CHECK_INT(store->ops->get_lease(store, pool, 10, &ended, NULL), 0);
	CHECK_INT(ended->started_us, 3);
	CHECK(gpu_set_has(&ended->gpus, (unsigned)pool_slot_by_uuid(pool, "GPU-0")));

	for (int share_mib = 0; share_mib < 2; share_mib++) {
		next->request.share_mib = (uint64_t)share_mib;
		gpu_set_add(&next->gpus, 1);
		begin(store);
		CHECK_INT(store->ops->put_lease(store, empty, next, NULL), -EEXIST);
		store->ops->rollback(store);
	}
	held->state = LEASE_ENDED;
	put_lease(store, pool, held);
	put_lease(store, empty, next);
}

static void failed_migration_changes_nothing(void)
{
	const char *const broken[] = { schema_0001, schema_0002, schema_0003,
		"CREATE TABLE extra (x TEXT); CREATE TABLE lease (x TEXT);" };
	_directory_ char *directory = new_directory();
	_store_ struct store *store = open_here(directory);

	fill(store, 10);
	store->ops->close(TAKE_PTR(store));
	CHECK(sqlite_open(directory, broken, ELEMENTSOF(broken), &store, NULL) < 0);
	store = open_here(directory);
	CHECK_INT(count_leases(store), 10);
	CHECK_INT(sqlite_exec((struct sqlite *)store, "CREATE TABLE extra (x TEXT)", NULL), 0);
}

static void refuses_another_history(void)
{
	_directory_ char *directory = new_directory();
	_cleanup_(freep) char *edited = text_format("%s ", schema_0001);
	const char *const steps[] = { edited, schema_0002, schema_0003 };
	_store_ struct store *store = NULL;
	struct error err = { 0 };

	CHECK_INT(sqlite_open(directory, steps, ELEMENTSOF(steps), &store, NULL), 0);
	store->ops->close(TAKE_PTR(store));
	check_refused(directory, -EPROTO, "store.other-schema");
	CHECK_INT(store_open_sqlite("/nonexistent", &store, &err), -ENOENT);
	CHECK(strstr(err.text, "/nonexistent") != NULL);
}

static void begins_again_after_a_crash_while_creating(void)
{
	_directory_ char *directory = new_directory();
	_cleanup_(freep) char *new = path_of(directory, "dibs.db.new");
	_cleanup_(freep) char *journal = path_of(directory, "dibs.db.new-journal");
	_store_ struct store *store = NULL;

	write_bytes(new, (struct bytes){ (char *)"half", 4 });
	write_bytes(journal, (struct bytes){ (char *)"half", 4 });
	store = open_here(directory);
	fill(store, 1);
	CHECK(access(new, F_OK) < 0);
	CHECK(access(journal, F_OK) < 0);
}

/* Disks that are full or cannot be written */

static int fill_until_it_fails(struct store *store, int64_t *last, struct error *err)
{
	int r;

	while ((r = try_one(store, *last + 1, err)) == 0 && *last < 100000)
		++*last;
	return r;
}

static void check_full_store(struct store *store, int64_t *last, int code, const char *id)
{
	struct error err = { 0 };

	CHECK_INT(fill_until_it_fails(store, last, &err), code);
	CHECK_STR(err.id, id);
	CHECK(*last > 0);
	CHECK_INT(count_leases(store), *last);
	CHECK_INT(try_one(store, *last + 1, NULL), code);
	CHECK_INT(count_leases(store), *last);
}

static void survives_a_limit_of_the_file_size(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = open_here(directory);
	struct rlimit old, limit;
	int64_t last = 0;

	getrlimit(RLIMIT_FSIZE, &old);
	limit = (struct rlimit){ .rlim_cur = 300000, .rlim_max = old.rlim_max };
	fflush(stdout);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	check_full_store(store, &last, -EIO, "store.io");
	setrlimit(RLIMIT_FSIZE, &old);

	CHECK_INT(try_one(store, ++last, NULL), 0);
	store->ops->close(TAKE_PTR(store));
	store = open_here(directory);
	CHECK_INT(count_leases(store), last);
}

static void survives_a_full_disk(void)
{
	_directory_ char *directory = new_directory();
	_cleanup_(freep) char *ballast = path_of(directory, "ballast");
	_store_ struct store *store = NULL;
	static char block[256 << 10];
	int64_t last = 0;

	CHECK_INT(mount("tmpfs", directory, "tmpfs", 0, "size=1m"), 0);
	write_bytes(ballast, (struct bytes){ block, sizeof(block) });
	store = open_here(directory);
	check_full_store(store, &last, -ENOSPC, "store.full");
	CHECK_INT(unlink(ballast), 0);
	CHECK_INT(try_one(store, ++last, NULL), 0);
	store->ops->close(TAKE_PTR(store));
	store = open_here(directory);
	CHECK_INT(count_leases(store), last);
	store->ops->close(TAKE_PTR(store));
	CHECK_INT(umount(directory), 0);
}

static void says_that_it_cannot_be_created_on_a_full_disk(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = NULL;

	CHECK_INT(mount("tmpfs", directory, "tmpfs", 0, "size=16k"), 0);
	CHECK_INT(store_open_sqlite(directory, &store, NULL), -ENOSPC);
	CHECK_INT(mount("tmpfs", directory, "tmpfs", MS_REMOUNT, "size=1m"), 0);
	store = open_here(directory);
	fill(store, 1);
	store->ops->close(TAKE_PTR(store));
	CHECK_INT(umount(directory), 0);
}

static void refuses_a_read_only_file_system(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = NULL;

	CHECK_INT(mount("tmpfs", directory, "tmpfs", MS_RDONLY, NULL), 0);
	CHECK_INT(store_open_sqlite(directory, &store, NULL), -EROFS);
	CHECK_INT(mount("tmpfs", directory, "tmpfs", MS_REMOUNT, NULL), 0);
	store = open_here(directory);
	fill(store, 10);
	store->ops->close(TAKE_PTR(store));
	CHECK_INT(mount("tmpfs", directory, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
	check_refused(directory, -EROFS, "store.read-only");
	CHECK_INT(umount(directory), 0);
}

static void refuses_a_file_that_it_may_not_write(void)
{
	_directory_ char *directory = new_directory();
	_cleanup_(freep) char *path = path_of(directory, "dibs.db");
	_store_ struct store *store = open_here(directory);
	uid_t me = geteuid();

	store->ops->close(TAKE_PTR(store));
	CHECK_INT(chmod(path, 0444), 0);
	CHECK_INT(chmod(directory, 0755), 0);
	if (me == 0)
		CHECK_INT(seteuid(65534), 0);
	check_refused(directory, -EACCES, "store.read-only");
	CHECK_INT(seteuid(me), 0);
}

static void skip(const char *name, const char *reason)
{
	printf("ok %d - %s # SKIP %s\n", ++tap_count, name, reason);
}

int main(void)
{
	TEST(is_private);
	TEST(is_there_again_after_close);
	TEST(survives_kill_in_the_middle);
	TEST(abandoned_transaction_is_gone);
	TEST(lets_nobody_else_in);
	TEST(refuses_a_damaged_file_and_keeps_it);
	TEST(keeps_the_wal_of_a_damaged_file_too);
	TEST(refuses_what_is_no_database_of_dibs);
	TEST(enforces_its_rules_when_open);
	TEST(refuses_damaged_rows);
	TEST(refuses_damaged_lines_of_the_account);
	TEST(migrates_and_keeps_a_copy);
	TEST(brings_a_file_of_the_first_version_along);
	TEST(failed_migration_changes_nothing);
	TEST(refuses_another_history);
	TEST(begins_again_after_a_crash_while_creating);
	TEST(survives_a_limit_of_the_file_size);
	TEST(refuses_a_file_that_it_may_not_write);
	if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0) {
		TEST(survives_a_full_disk);
		TEST(says_that_it_cannot_be_created_on_a_full_disk);
		TEST(refuses_a_read_only_file_system);
	} else {
		skip("survives_a_full_disk", "needs root to mount a tmpfs");
		skip("says_that_it_cannot_be_created_on_a_full_disk",
			"needs root to mount a tmpfs");
		skip("refuses_a_read_only_file_system", "needs root to mount a tmpfs");
	}
	return tap_done();
}
