// The two routing policies once more, as literally as they can be written: dense one-hot tensors for V1, sorted lists
// for V2, everything but the scores in double. Slow on purpose, and sharing no code with the router.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "routing_case.h"

namespace moe::test {

using Rows = std::vector<std::vector<double>>;

inline bool is_finite_token(std::span<const float> logits) {
  bool any_finite = false;
  for (const float logit : logits) {
    if (std::isnan(logit) || logit == INFINITY) return false;
    any_finite |= logit != -INFINITY;
  }
  return any_finite;
}

inline std::vector<double> naive_softmax(std::span<const float> logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  std::vector<double> scores;
  for (const float logit : logits) scores.push_back(static_cast<float>(std::exp(logit - max)));
  const double sum = std::accumulate(scores.begin(), scores.end(), 0.0);
  for (double& score : scores) score = static_cast<float>(score / sum);
  return scores;
}

// One group of TopkRouterV1, step by step over [n, E] and [n, E, C] tensors. Returns the loss without its factor.
inline double naive_v1_group(const MoEConfig& config, const Rows& softmaxes, const std::vector<bool>& finite,
                             int64_t first, RoutingResult& out) {
  const int64_t n = static_cast<int64_t>(softmaxes.size());
  const int32_t E = config.expert_num, K = config.num_experts_chosen;
  const auto C = static_cast<int64_t>(
      std::ceil(static_cast<double>(K) * static_cast<double>(n) * config.capacity_factor / static_cast<double>(E)));
  Rows p = softmaxes, kept(n, std::vector<double>(E, 0.0));
  std::vector<std::vector<std::vector<double>>> combine(n, Rows(E, std::vector<double>(C, 0.0)));
  struct Choice {
    int32_t expert;
    int64_t position;
  };
  std::vector<std::vector<Choice>> choices(n);
  std::vector<int64_t> used(E, 0);
  const auto finite_count = static_cast<double>(std::count(finite.begin(), finite.end(), true));
  double loss = 0.0;

  for (int32_t round = 0; round < K; ++round) {
    std::vector<double> votes(E, 0.0), shares(E, 0.0);
    std::vector<int64_t> seen(E, 0), kept_now(E, 0);
    for (int64_t t = 0; t < n; ++t) {
      if (!finite[t]) continue;
      for (int32_t e = 0; e < E; ++e) p[t][e] *= 1.0 - kept[t][e];
      const auto expert = static_cast<int32_t>(std::max_element(p[t].begin(), p[t].end()) - p[t].begin());
      const double sum = std::accumulate(p[t].begin(), p[t].end(), 0.0);
      votes[expert] += 1.0;
      for (int32_t e = 0; e < E; ++e) shares[e] += p[t][e] / (sum + 1e-9);

      const int64_t position = used[expert] + seen[expert]++;
      choices[t].push_back({expert, position});
      if (position < C) {
        kept[t][expert] += 1.0;
        ++kept_now[expert];
        combine[t][expert][position] += p[t][expert];
      }
    }
    for (int32_t e = 0; e < E; ++e) used[e] += kept_now[e];
    if (finite_count > 0)
      for (int32_t e = 0; e < E; ++e) loss += votes[e] / finite_count * (shares[e] / finite_count) / E * E * E;
  }

  for (int64_t t = 0; t < n; ++t) {
    double sum = 0.0;
    for (const auto& slots : combine[t]) sum = std::accumulate(slots.begin(), slots.end(), sum);
    for (int32_t round = 0; round < K; ++round) {
      const int64_t slot = (first + t) * K + round;
      out.experts[slot] = -1;
      out.weights[slot] = finite[t] ? 0.0f : NAN;
      if (!finite[t]) continue;
      const auto [expert, position] = choices[t][round];
      out.totals.dropped_choices += position >= C;
      if (position >= C || combine[t][expert][position] == 0.0) continue;
      out.experts[slot] = expert;
      out.weights[slot] = static_cast<float>(combine[t][expert][position] / (sum + 1e-9));
      ++out.expert_load[expert];
    }
  }
  return loss;
}

inline RoutingResult naive_v1(const MoEConfig& config, const std::vector<float>& logits) {
  const int32_t E = config.expert_num, K = config.num_experts_chosen;
  const auto tokens = static_cast<int64_t>(logits.size()) / E;
  const int64_t n = config.tokens_per_group > 0 ? std::min(config.tokens_per_group, tokens) : tokens;
  RoutingResult out(tokens, E, K);
  out.expert_load.assign(E, 0);
  out.totals = {0.0, 0.0, 0, static_cast<int64_t>(std::ceil(double(K) * double(n) * config.capacity_factor / E))};
  int64_t groups = 0;
  for (int64_t first = 0; first < tokens; first += n, ++groups) {
    Rows softmaxes;
    std::vector<bool> finite;
    for (int64_t t = first; t < std::min(first + n, tokens); ++t) {
      const std::span<const float> row(logits.data() + t * E, E);
      finite.push_back(is_finite_token(row));
      softmaxes.push_back(finite.back() ? naive_softmax(row) : std::vector<double>(E, 0.0));
    }
    out.totals.aux_loss += naive_v1_group(config, softmaxes, finite, first, out);
  }
  if (groups > 0) out.totals.aux_loss *= config.aux_loss_factor / static_cast<double>(groups);
  return out;
}

// Indices of the k largest, equal values by lower index.
template <class T>
std::vector<int32_t> naive_top_k(const std::vector<T>& values, int32_t k) {
  std::vector<int32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return values[a] > values[b]; });
  order.resize(k);
  return order;
}

// Ranks of the experts after the group limit, in float32 because ties are decided there.
inline std::vector<float> naive_group_limit(const MoEConfig& config, std::vector<float> ranks) {
  if (config.topk_method == TopkMethod::kGreedy) return ranks;
  const int32_t size = config.expert_num / config.n_group;
  std::vector<float> group_scores;
  for (int32_t group = 0; group < config.n_group; ++group) {
    std::vector<float> sorted(ranks.begin() + group * size, ranks.begin() + (group + 1) * size);
    std::sort(sorted.rbegin(), sorted.rend());
    const bool two = config.topk_method == TopkMethod::kNoauxTc && size > 1;
    group_scores.push_back(two ? sorted[0] + sorted[1] : sorted[0]);
  }
  std::vector<float> sorted = group_scores;
  std::sort(sorted.rbegin(), sorted.rend());
  for (int32_t e = 0; e < config.expert_num; ++e)
    if (group_scores[e / size] < sorted[config.topk_group - 1])
      ranks[e] = config.exclude_masked_groups ? -INFINITY : 0.0f;
  return ranks;
}

struct NaiveChoices {
  std::vector<int32_t> experts, loss_experts;
  std::vector<double> weights, loss_scores;
  double squared_logsumexp;
};

// Weights beyond the router's own matrix, and choices that are made elsewhere.
struct Beside {
  std::span<const float> bias = {}, scale = {};
  std::span<const int32_t> given = {};
};

inline double naive_score(ScoreFunction function, double logit, double softmax) {
  switch (function) {
    case ScoreFunction::kSigmoid:
      return static_cast<float>(1.0 / (1.0 + std::exp(-logit)));
    case ScoreFunction::kSqrtSoftplus:
      return static_cast<float>(logit < -600.0 ? std::exp(logit / 2)
                                               : std::sqrt(logit > 600.0 ? logit : std::log1p(std::exp(logit))));
    default:
      return softmax;
  }
}

// The weight of the best logit that is left, by Phi-3.5-MoE's definition.
inline double naive_mixer_weight(const MoEConfig& config, std::span<const float> logits, int32_t best,
                                 int32_t without) {
  const double max = logits[best];
  if (std::isinf(max)) return 0.0;
  double sum = 0.0;
  for (int32_t e = 0; e < static_cast<int32_t>(logits.size()); ++e) {
    const double l = logits[e];
    if (e == without || std::isinf(l)) continue;
    if (max != l && (max - l) / std::max(std::fabs(l), max) > 2 * config.sparsemixer_epsilon) continue;
    sum += std::exp(l - max);
  }
  return 1.0 / sum;
}

inline NaiveChoices naive_v2_token(const MoEConfig& config, std::span<const float> uncapped, const Beside& beside) {
  const int32_t K = config.num_experts_chosen, always = config.always_chosen_expert_num;
  const double cap = config.logit_soft_cap;
  std::vector<float> logits;
  for (const float logit : uncapped)
    logits.push_back(cap > 0.0 && !std::isinf(logit) ? static_cast<float>(cap * std::tanh(logit / cap)) : logit);
  std::vector<double> scores = naive_softmax(logits);
  for (size_t e = 0; e < logits.size(); ++e) scores[e] = naive_score(config.score_function, logits[e], scores[e]);
  std::vector<float> ranks(scores.begin(), scores.end());
  const bool mixes = config.score_function == ScoreFunction::kSparseMixer;
  if (config.choose_by_logit || mixes) ranks = logits;
  if (config.balance_via_topk_bias)
    for (size_t e = 0; e < beside.bias.size(); ++e) ranks[e] += beside.bias[e];
  ranks = naive_group_limit(config, ranks);

  NaiveChoices result;
  const auto among = static_cast<int32_t>(ranks.size()) - always;
  result.experts = naive_top_k(std::vector<float>(ranks.begin(), ranks.begin() + among), K - always);
  for (int32_t e = among; e < among + always; ++e) result.experts.push_back(e);
  result.loss_experts = config.balance_via_topk_bias ? naive_top_k(scores, K) : result.experts;
  if (!beside.given.empty()) result.experts.assign(beside.given.begin(), beside.given.end());
  const bool by_score = config.balance_via_topk_bias || config.choose_by_logit || !beside.given.empty();
  for (const int32_t e : result.experts)
    result.weights.push_back(by_score ? scores[e] : std::max<double>(always > 0 ? scores[e] : ranks[e], 0.0));
  if (mixes) {
    const int32_t first = result.experts[0], second = result.experts[1];
    result.weights = {naive_mixer_weight(config, logits, first, -1), naive_mixer_weight(config, logits, second, first)};
  }
  const double sum = std::accumulate(result.weights.begin(), result.weights.end(), 0.0);
  for (size_t choice = 0; choice < result.weights.size(); ++choice) {
    double& weight = result.weights[choice];
    const auto expert = static_cast<size_t>(result.experts[choice]);
    if (config.norm_topk_prob && (K > 1 || config.norm_topk_single)) weight /= sum + config.norm_topk_epsilon;
    weight *= config.routed_scaling_factor;
    if (expert < beside.scale.size()) weight *= beside.scale[expert];
  }
  const double score_sum = std::accumulate(scores.begin(), scores.end(), 0.0);
  for (const double score : scores)
    result.loss_scores.push_back(config.score_function == ScoreFunction::kSoftmax ? score : score / (score_sum + 1e-9));
  double exponentials = 0.0;
  for (const float logit : logits) exponentials += std::exp(static_cast<double>(logit));
  result.squared_logsumexp = std::log(exponentials) * std::log(exponentials);
  return result;
}

inline int64_t naive_v2_capacity(const MoEConfig& config, int64_t n) {
  if (config.expert_capacity > 0) return config.expert_capacity;
  if (config.capacity_factor <= 0) return -1;
  auto capacity = static_cast<int64_t>(
      std::ceil(double(config.num_experts_chosen) * double(n) * config.capacity_factor / double(config.expert_num)));
  capacity = std::min(capacity, n);
  while (capacity % config.capacity_multiple != 0) ++capacity;
  return capacity;
}

inline RoutingResult naive_v2(const MoEConfig& config, const std::vector<float>& logits, const Beside& beside) {
  const int32_t E = config.expert_num, K = config.num_experts_chosen, R = E + config.zero_expert_num;
  const auto tokens = static_cast<int64_t>(logits.size()) / R;
  const int64_t full = config.tokens_per_group > 0 ? std::min(config.tokens_per_group, tokens) : tokens;
  RoutingResult out(tokens, E, K);
  out.expert_load.assign(E, 0);
  std::fill(out.experts.begin(), out.experts.end(), -1);
  std::fill(out.weights.begin(), out.weights.end(), NAN);
  out.totals = {0.0, 0.0, 0, naive_v2_capacity(config, full)};
  double squares = 0.0, finite_in_all = 0.0;
  const auto groups = static_cast<double>((tokens + full - 1) / std::max<int64_t>(full, 1));

  for (int64_t first = 0; first < tokens; first += full) {
    const int64_t end = std::min(first + full, tokens), capacity = naive_v2_capacity(config, end - first);
    std::vector<double> score_means(E, 0.0), vote_shares(E, 0.0);
    double finite = 0.0;
    std::vector<std::pair<int64_t, int64_t>> order;  // (token, choice)
    for (int64_t t = first; t < end; ++t) {
      const std::span<const float> row(logits.data() + t * R, R);
      if (!is_finite_token(row)) continue;
      const auto given = beside.given.empty() ? beside.given : beside.given.subspan(t * K, K);
      const NaiveChoices choices = naive_v2_token(config, row, {beside.bias, beside.scale, given});
      finite += 1.0;
      squares += choices.squared_logsumexp;
      for (int32_t e = 0; e < E; ++e) score_means[e] += choices.loss_scores[e];
      for (int32_t j = 0; j < K; ++j) {
        if (choices.loss_experts[j] < E) vote_shares[choices.loss_experts[j]] += 1.0;
        out.experts[t * K + j] = choices.experts[j];
        out.weights[t * K + j] = static_cast<float>(choices.weights[j]);
        order.emplace_back(t, j);
      }
    }
    if (finite == 0.0) continue;
    finite_in_all += finite;
    for (const AuxLoss& aux : config.aux_losses) {
      const int32_t size = E / aux.expert_groups;
      double sum = 0.0;
      for (int32_t group = 0; group < aux.expert_groups; ++group) {
        double score = 0.0, share = 0.0;
        for (int32_t e = group * size; e < (group + 1) * size; ++e) {
          score += score_means[e] / finite / size;
          share += vote_shares[e] / (K * finite) / size;
        }
        sum += score * share;
      }
      out.totals.aux_loss += aux.factor * E * E * (sum / aux.expert_groups) / groups;
    }

    if (!config.enable_sdrop)
      std::stable_sort(order.begin(), order.end(), [](auto a, auto b) { return a.second < b.second; });
    std::vector<int64_t> position(E, 0);
    for (const auto& [t, j] : order) {
      const int32_t expert = out.experts[t * K + j];
      if (expert >= E) continue;
      if (capacity >= 0 && ++position[expert] > capacity) {
        out.experts[t * K + j] = -1;
        out.weights[t * K + j] = 0.0f;
        ++out.totals.dropped_choices;
      } else {
        ++out.expert_load[expert];
      }
    }
  }
  if (finite_in_all > 0.0) out.totals.z_loss = config.z_loss_factor * squares / finite_in_all;
  return out;
}

}  // namespace moe::test
