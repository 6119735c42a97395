#include "parallel/environment.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>

#include "parallel/mpi_session.h"

namespace heddle {
namespace {

// Launchers' variables, set for one test and put back afterwards.
class Environment : public testing::Test {
 protected:
  static constexpr const char* kVariables[] = {"OMPI_COMM_WORLD_RANK",
                                               "OMPI_COMM_WORLD_SIZE",
                                               "OMPI_COMM_WORLD_LOCAL_RANK",
                                               "PMIX_RANK",
                                               "PMI_RANK",
                                               "PMI_SIZE",
                                               "MPI_LOCALRANKID",
                                               "SLURM_PROCID",
                                               "SLURM_LOCALID",
                                               "SLURM_NTASKS",
                                               "SLURM_STEP_NUM_TASKS"};

  void SetUp() override {
    for (const char* name : kVariables) {
      if (const char* value = std::getenv(name)) saved_[name] = value;
      unsetenv(name);
    }
  }
  void TearDown() override {
    for (const char* name : kVariables) unsetenv(name);
    for (const auto& [name, value] : saved_) setenv(name.c_str(), value.c_str(), 1);
  }

 private:
  std::map<std::string, std::string> saved_;
};

TEST_F(Environment, AloneWithoutALauncher) {
  EXPECT_EQ(environment_rank(), 0);
  EXPECT_EQ(environment_size(), 1);
  EXPECT_FALSE(environment_first_of_host());
}

TEST_F(Environment, MpirunComesBeforeSlurm) {
  setenv("SLURM_PROCID", "0", 1);
  setenv("SLURM_STEP_NUM_TASKS", "2", 1);
  setenv("OMPI_COMM_WORLD_RANK", "5", 1);
  setenv("OMPI_COMM_WORLD_SIZE", "8", 1);
  setenv("OMPI_COMM_WORLD_LOCAL_RANK", "1", 1);
  EXPECT_EQ(environment_rank(), 5);
  EXPECT_EQ(environment_size(), 8);
  EXPECT_FALSE(environment_first_of_host());
  setenv("OMPI_COMM_WORLD_LOCAL_RANK", "0", 1);
  EXPECT_TRUE(environment_first_of_host());
}

TEST_F(Environment, SlurmAlone) {
  setenv("SLURM_NTASKS", "8", 1);  // an sbatch script: what it runs without srun is alone
  setenv("SLURM_PROCID", "0", 1);
  EXPECT_EQ(environment_size(), 1);
  setenv("SLURM_STEP_NUM_TASKS", "8", 1);
  setenv("SLURM_PROCID", "3", 1);
  EXPECT_EQ(environment_size(), 8);
  EXPECT_EQ(environment_rank(), 3);
}

TEST_F(Environment, NonsenseIsPassedOver) {
  setenv("OMPI_COMM_WORLD_RANK", "two", 1);
  setenv("PMIX_RANK", "-4", 1);
  setenv("PMI_RANK", "3x", 1);
  setenv("SLURM_PROCID", "2", 1);
  EXPECT_EQ(environment_rank(), 2);
}

TEST(MpiLibrary, NamesItselfBeforeInit) {
  EXPECT_FALSE(mpi_was_started());
  EXPECT_GT(mpi_library_version().size(), 4u);
  EXPECT_EQ(mpi_library_version().find_first_of(",\n"), std::string::npos);
}

}  // namespace
}  // namespace heddle
