// PlanFile::describe_json: what `headrace inspect` shows. Schema: docs/cli.md.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headrace/runtime.h>

#include "plan/placement.h"
#include "plan/plan.h"
#include "plan/profiles.h"

namespace headrace {
namespace {

using Json = nlohmann::ordered_json;

Json tensor_json(const Plan& plan, const PlanTensor& tensor) {
  return {{"name", tensor.name},
          {"dtype", std::string(to_string(tensor.dtype))},
          {"shape", plan.shapes.to_string(tensor.shape)},
          {"layout", std::string(to_string(tensor.layout))}};
}

Json io_json(const Plan& plan, const std::vector<std::int32_t>& indices) {
  Json list = Json::array();
  for (std::int32_t i : indices) list.push_back(tensor_json(plan, plan.tensors[static_cast<std::size_t>(i)]));
  return list;
}

Json tried_json(const std::vector<TimingRecord>& tried) {
  Json list = Json::array();
  for (const TimingRecord& t : tried)
    list.push_back({{"tactic", t.tactic}, {"choice", t.choice}, {"us", t.us}});
  return list;
}

Json layer_json(const Plan& plan, const PlanStep& step) {
  Json layer = {{"op", to_string(from_record(step.op), plan.shapes)},
                {"tactic", step.tactic},
                {"choice", step.choice},
                {"origins", step.origins}};
  for (std::int32_t i : step.inputs)
    layer["inputs"].push_back(tensor_json(plan, plan.tensors[static_cast<std::size_t>(i)]));
  for (std::int32_t i : step.outputs)
    layer["outputs"].push_back(tensor_json(plan, plan.tensors[static_cast<std::size_t>(i)]));
  layer["refused"] = Json::array();
  for (const RefusalRecord& r : step.refused)
    layer["refused"].push_back({{"tactic", r.tactic}, {"reason", r.reason}});
  layer["tried"] = tried_json(step.tried);
  layer["variants"] = Json::array();
  for (const StepVariant& v : step.variants)
    layer["variants"].push_back(
        {{"profile", v.profile}, {"tactic", v.tactic}, {"choice", v.choice}, {"tried", tried_json(v.tried)}});
  return layer;
}

/// Bytes by kind, at the first profile's opt shapes. Activations: the arena, without workspaces of kernels.
/// Left out when extents depend on values of inputs.
Json memory_json(const Plan& plan) {
  Json json = {{"weights", plan.weights.size()}};
  std::vector<std::int64_t> symbols;
  for (const Symbol& symbol : plan.shapes.symbols()) {
    const SymbolSource& source = symbol.sources.front();
    if (source.kind != SymbolSource::dim || plan.profiles.empty()) return json;
    symbols.push_back(plan.profiles.front()[static_cast<std::size_t>(source.input)]
                          .opt[static_cast<std::size_t>(source.index)]);
  }
  try {
    const Placement placement = place_tensors(plan, plan.shapes.evaluate(symbols));
    const std::vector<Life> lives = root_lives(plan, placement);
    std::vector<MemoryRequest> requests;
    std::uint64_t inputs = 0, outputs = 0;
    for (std::size_t t = 0; t < plan.tensors.size(); ++t) {
      const PlanTensor& tensor = plan.tensors[t];
      if (tensor.role == TensorRole::input) inputs += placement.span_bytes[t];
      if (tensor.role == TensorRole::output) outputs += placement.span_bytes[t];
      if (tensor.role == TensorRole::activation && tensor.view == ViewKind::none && lives[t].first >= 0)
        requests.push_back({placement.span_bytes[t], lives[t].first, lives[t].last});
    }
    json["activations"] = plan_memory(requests).arena_bytes;
    json["inputs"] = inputs;
    json["outputs"] = outputs;
  } catch (const Error&) {  // these opt shapes contradict each other: there is no memory to tell
  }
  return json;
}

}  // namespace

std::string PlanFile::describe_json() const {
  const Plan& plan = *plan_;
  Json json = {{"format_version", kPlanVersion},
               {"device", plan.device},
               {"device_model", plan.device_model},
               {"threads", plan.threads}};
  json["provenance"] = Json::object();
  for (const auto& [key, value] : plan.provenance)
    json["provenance"][key] = value.size() <= 200 ? value : fmt::format("({} characters)", value.size());
  json["inputs"] = io_json(plan, plan.inputs);
  for (Json& input : json["inputs"])
    if (const auto it = plan.provenance.find(kInputFormatKey + input["name"].get<std::string>());
        it != plan.provenance.end())
      input["format"] = it->second;
  json["outputs"] = io_json(plan, plan.outputs);
  json["profiles"] = Json::array();
  for (const Profile& profile : plan.profiles) {
    Json ranges = Json::array();
    for (const ProfileRange& r : profile)
      ranges.push_back({{"input", r.input}, {"min", r.min}, {"opt", r.opt}, {"max", r.max}});
    json["profiles"].push_back(ranges);
  }
  json["profile_gaps"] = profile_gaps(plan);
  json["memory_bytes"] = memory_json(plan);
  std::size_t views = 0;
  for (const PlanTensor& t : plan.tensors) views += t.view != ViewKind::none;
  json["tensors"] = plan.tensors.size();
  json["views"] = views;
  json["layers"] = Json::array();
  for (const PlanStep& step : plan.steps) json["layers"].push_back(layer_json(plan, step));
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace headrace
