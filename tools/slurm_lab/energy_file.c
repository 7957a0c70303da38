/* acct_gather_energy/file: a node's energy meter that is a file, so that a cluster without meters has true ones.
 *
 * SLURM_LAB_METERS, in the environment of slurmd, names the node's folder. In it the file `node` is the whole node's
 * meter, and the file named as a job's id, where there is one, that job's own. A meter is one line of two integers:
 * millijoules counted since any moment, and the watts of now. It never counts backwards; a missing or unreadable one
 * keeps what was read last.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>

const char plugin_name[] = "Energy from meter files";
const char plugin_type[] = "acct_gather_energy/file";
const uint32_t plugin_version = SLURM_VERSION_NUMBER;

struct meter {
	char path[1024];
	bool begun;
	uint64_t first_mj, last_mj; /* at the first reading of this file, and at the latest one */
	time_t first_at;
};

static struct meter meter;
static acct_gather_energy_t total; /* since the daemon's or the step's start, in joules as Slurm counts */
static uint64_t earlier_mj;        /* counted by a file that we read before this one */

/* The job of a step's process, 0 in slurmd: the process is titled "slurmstepd: [12.batch]" once it knows its job. */
static uint32_t job_of_step(void)
{
	char title[128] = "";
	uint32_t job = 0;
	FILE *file = fopen("/proc/self/cmdline", "r");

	if (!file)
		return 0;
	title[fread(title, 1, sizeof(title) - 1, file)] = '\0';
	fclose(file);
	return sscanf(title, "slurmstepd: [%" SCNu32, &job) == 1 ? job : 0;
}

/* The file to read now: the job's own where there is one. */
static void choose(char *path, size_t size)
{
	const char *folder = getenv("SLURM_LAB_METERS");
	uint32_t job = job_of_step();

	path[0] = '\0';
	if (!folder)
		return;
	if (job) {
		snprintf(path, size, "%s/%" PRIu32, folder, job);
		if (access(path, R_OK) == 0)
			return;
	}
	snprintf(path, size, "%s/node", folder);
}

static bool reading(const char *path, uint64_t *mj, uint32_t *watts)
{
	FILE *file = path[0] ? fopen(path, "r") : NULL;
	int found;

	if (!file)
		return false;
	found = fscanf(file, "%" SCNu64 " %" SCNu32, mj, watts);
	fclose(file);
	return found == 2;
}

static void update(void)
{
	char path[sizeof(meter.path)];
	uint64_t mj, before = total.consumed_energy;
	uint32_t watts;
	time_t now = time(NULL);

	choose(path, sizeof(path));
	if (!reading(path, &mj, &watts))
		return;
	if (!meter.begun || strcmp(path, meter.path)) {
		earlier_mj += meter.last_mj - meter.first_mj;
		memcpy(meter.path, path, sizeof(path));
		meter.first_mj = meter.last_mj = mj;
		if (!meter.begun)
			meter.first_at = now;
		meter.begun = true;
	}
	if (mj > meter.last_mj)
		meter.last_mj = mj;
	total.consumed_energy = (earlier_mj + meter.last_mj - meter.first_mj) / 1000;
	total.previous_consumed_energy = before;
	total.base_consumed_energy = total.consumed_energy - before;
	total.current_watts = watts;
	total.ave_watts = now > meter.first_at ? total.consumed_energy / (now - meter.first_at) : watts;
	total.poll_time = now;
}

int init(void)
{
	total.current_watts = NO_VAL;
	return SLURM_SUCCESS;
}

int fini(void)
{
	return SLURM_SUCCESS;
}

int acct_gather_energy_p_update_node_energy(void)
{
	update();
	return SLURM_SUCCESS;
}

int acct_gather_energy_p_get_data(enum acct_energy_type what, void *data)
{
	switch (what) {
	case ENERGY_DATA_JOULES_TASK:
	case ENERGY_DATA_NODE_ENERGY:
	case ENERGY_DATA_NODE_ENERGY_UP:
	case ENERGY_DATA_STRUCT:
		update();
		memcpy(data, &total, sizeof(total));
		return SLURM_SUCCESS;
	case ENERGY_DATA_LAST_POLL:
		*(time_t *) data = total.poll_time;
		return SLURM_SUCCESS;
	case ENERGY_DATA_SENSOR_CNT:
		*(uint16_t *) data = 1;
		return SLURM_SUCCESS;
	default:
		return SLURM_ERROR;
	}
}

int acct_gather_energy_p_set_data(enum acct_energy_type what, void *data)
{
	(void) what;
	(void) data;
	return SLURM_SUCCESS;
}

void acct_gather_energy_p_conf_options(void *options, int *count)
{
	(void) options;
	(void) count;
}

void acct_gather_energy_p_conf_set(int context, void *table)
{
	(void) context;
	(void) table;
}

void acct_gather_energy_p_conf_values(void *data)
{
	(void) data;
}
