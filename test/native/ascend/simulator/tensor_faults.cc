// Tensors, lists, executors and workspaces used wrongly.
#include "fault_table.h"

namespace ascend_sim {
namespace {

void misaligned_address(Lab& lab, bool wrong) {
  auto* const memory = static_cast<char*>(lab.allocate(256));
  aclDestroyTensor(tensor_at(memory + (wrong ? 16 : 32), {8}, kFloat));
}

void host_address(Lab& lab, bool wrong) {
  alignas(64) float host[16];
  aclDestroyTensor(tensor_at(wrong ? host : lab.allocate(64), {16}, kFloat));
}

void view_past_its_storage(Lab& lab, bool wrong) {
  void* const memory = lab.allocate(4096);
  const int64_t dims[] = {4, 8};
  const int64_t strides[] = {wrong ? 16 : 8, 1};
  const int64_t storage = 32;
  aclDestroyTensor(aclCreateTensor(dims, 2, kFloat, strides, 0, kND, &storage, 1, memory));
}

void storage_past_its_memory(Lab& lab, bool wrong) {
  void* const memory = lab.allocate(wrong ? 64 : 128);
  Array y(lab, {32}, kFloat);
  aclTensor* const x = tensor_at(memory, {32}, kFloat);
  ASCEND_SIM_RUN(lab, aclnnSilu, x, y.tensor);
  aclDestroyTensor(x);
}

void member_destroyed_beside_its_list(Lab& lab, bool wrong) {
  Array x(lab, {8}, kFloat);
  const aclTensor* const member = x.tensor;
  aclTensorList* const list = x.listed();
  if (wrong) aclDestroyTensor(member);
  aclDestroyTensorList(list);
}

void tensor_freed_between_the_phases(Lab& lab, bool wrong) {
  Array x(lab, {4}, kFloat, {1, 2, 3, 4});
  Array y(lab, {4}, kFloat);
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  expect(aclnnSiluGetWorkspaceSize(x.tensor, y.tensor, &size, &executor));
  if (wrong) aclDestroyTensor(std::exchange(x.tensor, nullptr));
  aclnnSilu(nullptr, 0, executor, lab.stream);
  if (!wrong) aclDestroyTensor(std::exchange(x.tensor, nullptr));  // as soon as phase 2 has returned
  aclrtSynchronizeStream(lab.stream);
}

void executor_used_twice(Lab& lab, bool wrong) {
  Array x(lab, {4}, kFloat, {1, 2, 3, 4});
  Array y(lab, {4}, kFloat);
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  expect(aclnnSiluGetWorkspaceSize(x.tensor, y.tensor, &size, &executor));
  if (!wrong) expect(aclSetAclOpExecutorRepeatable(executor));
  expect(aclnnSilu(nullptr, 0, executor, lab.stream));
  aclnnSilu(nullptr, 0, executor, lab.stream);
  if (!wrong) expect(aclDestroyAclOpExecutor(executor));
  expect(aclrtSynchronizeStream(lab.stream));
}

void executor_of_another_operator(Lab& lab, bool wrong) {
  Array x(lab, {4}, kFloat, {1, 2, 3, 4});
  Array y(lab, {4}, kFloat);
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  expect(aclnnSiluGetWorkspaceSize(x.tensor, y.tensor, &size, &executor));
  (wrong ? aclnnRelu : aclnnSilu)(nullptr, 0, executor, lab.stream);
  expect(aclrtSynchronizeStream(lab.stream));
}

// Softmax gating asks for a workspace.
template <class Use>
void with_workspace(Lab& lab, Use use) {
  Array x(lab, {2, 4}, kFloat, noise(8, 1));
  Array y(lab, {2, 2}, kFloat);
  Array ids(lab, {2, 2}, kInt32);
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  expect(aclnnMoeGatingTopKSoftmaxV2GetWorkspaceSize(x.tensor, nullptr, 2, 0, false, y.tensor, ids.tensor, nullptr,
                                                     &size, &executor));
  use(size, executor, x);
  aclrtSynchronizeStream(lab.stream);
}

void workspace_missing(Lab& lab, bool wrong) {
  with_workspace(lab, [&](uint64_t size, aclOpExecutor* executor, Array&) {
    aclnnMoeGatingTopKSoftmaxV2(wrong ? nullptr : lab.allocate(size), size, executor, lab.stream);
  });
}

void workspace_too_small(Lab& lab, bool wrong) {
  with_workspace(lab, [&](uint64_t size, aclOpExecutor* executor, Array&) {
    aclnnMoeGatingTopKSoftmaxV2(lab.allocate(wrong ? size - 64 : size), size, executor, lab.stream);
  });
}

void workspace_of_another_size(Lab& lab, bool wrong) {
  with_workspace(lab, [&](uint64_t size, aclOpExecutor* executor, Array&) {
    aclnnMoeGatingTopKSoftmaxV2(lab.allocate(size + 64), wrong ? size + 64 : size, executor, lab.stream);
  });
}

void workspace_over_an_input(Lab& lab, bool wrong) {
  auto* const memory = static_cast<char*>(lab.allocate(65536));
  Array y(lab, {2, 2}, kFloat);
  Array ids(lab, {2, 2}, kInt32);
  aclTensor* const x = tensor_at(memory, {2, 4}, kFloat);
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  expect(aclrtMemset(memory, 65536, 0, 65536));
  expect(aclnnMoeGatingTopKSoftmaxV2GetWorkspaceSize(x, nullptr, 2, 0, false, y.tensor, ids.tensor, nullptr, &size,
                                                     &executor));
  aclnnMoeGatingTopKSoftmaxV2(memory + (wrong ? 0 : 64), size, executor, lab.stream);
  expect(aclrtSynchronizeStream(lab.stream));
  aclDestroyTensor(x);
}

void output_over_an_input(Lab& lab, bool wrong) {
  Array x(lab, {2, 8}, kFloat, noise(16, 1));
  Array y(lab, {2, 4}, kFloat);
  aclTensor* const out = tensor_at(wrong ? x.memory : y.memory, {2, 4}, kFloat);
  ASCEND_SIM_RUN(lab, aclnnSwiGlu, x.tensor, int64_t{-1}, out);
  aclDestroyTensor(out);
}

void wrong_fractal_storage(Lab& lab, bool wrong) {
  void* const memory = lab.allocate(65536);
  const int64_t dims[] = {2, 32, 48};
  const int64_t right[] = {2, 3, 2, 16, 16};
  const int64_t swapped[] = {2, 2, 3, 16, 16};  // K blocks outside N blocks
  aclDestroyTensor(aclCreateTensor(dims, 3, kFloat16, nullptr, 0, kFractalNz, wrong ? swapped : right, 5, memory));
}

void executor_never_run(Lab& lab, bool wrong) {
  Array x(lab, {4}, kFloat, {1, 2, 3, 4});
  Array y(lab, {4}, kFloat);
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  expect(aclnnSiluGetWorkspaceSize(x.tensor, y.tensor, &size, &executor));
  if (wrong)
    aclDestroyAclOpExecutor(executor);
  else
    expect(aclnnSilu(nullptr, 0, executor, lab.stream));
}

}  // namespace

std::vector<SeededFault> tensor_faults() {
  return {
      {"MisalignedAddress", "is not a multiple of 32", misaligned_address},
      {"HostAddress", "is host memory", host_address},
      {"ViewPastItsStorage", "runs past its storage", view_past_its_storage},
      {"StoragePastItsMemory", "its allocation ends after 64", storage_past_its_memory},
      {"MemberDestroyedBesideItsList", "the list destroys its members itself", member_destroyed_beside_its_list},
      {"TensorFreedBetweenThePhases", "between the two phases", tensor_freed_between_the_phases},
      {"ExecutorUsedTwice", "the executor handle was destroyed before", executor_used_twice},
      {"ExecutorOfAnotherOperator", "was made by aclnnSiluGetWorkspaceSize", executor_of_another_operator},
      {"WorkspaceMissing", "the workspace is null", workspace_missing},
      {"WorkspaceTooSmall", "the workspace takes", workspace_too_small},
      {"WorkspaceOfAnotherSize", "that were asked for", workspace_of_another_size},
      {"WorkspaceOverAnInput", "the workspace and x overlap", workspace_over_an_input},
      {"OutputOverAnInput", "out and x overlap", output_over_an_input},
      {"WrongFractalStorage", "the storage of FRACTAL_NZ", wrong_fractal_storage},
      {"ExecutorDestroyedByHand", "only an executor that was made repeatable", executor_never_run},
  };
}

}  // namespace ascend_sim
