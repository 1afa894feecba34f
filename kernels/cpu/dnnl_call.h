// A oneDNN primitive called with raw pointers and without allocation: the argument list is built
// once, and each call only replaces the data handles.
#pragma once

#include <array>
#include <utility>
#include <vector>

#include <dnnl.hpp>

#include "kernels/cpu/context.h"

namespace syncnorm::cpu {

class DnnlCall {
 public:
  DnnlCall() = default;

  /// `roles` lists (DNNL_ARG_*, descriptor) in the order in which pointers are passed to run().
  DnnlCall(Context& context, dnnl::primitive primitive,
           const std::vector<std::pair<int, dnnl::memory::desc>>& roles,
           const dnnl::memory::desc& scratchpad)
      : context_(&context), primitive_(std::move(primitive)) {
    for (const auto& [role, desc] : roles) add(role, desc);
    if (scratchpad.get_size() > 0) {
      context.scratch.need(scratchpad.get_size());
      add(DNNL_ARG_SCRATCHPAD, scratchpad);
      has_scratchpad_ = true;
    }
  }

  void run(std::initializer_list<const void*> pointers) {
    std::size_t i = 0;
    // oneDNN takes inputs, too, as non-const pointers.
    for (const void* pointer : pointers) memories_[i++].set_data_handle(const_cast<void*>(pointer));
    if (has_scratchpad_) memories_[i].set_data_handle(context_->scratch.data());
    dnnl::error::wrap_c_api(
        dnnl_primitive_execute(primitive_.get(), context_->stream.get(),
                               static_cast<int>(arguments_.size()), arguments_.data()),
        "oneDNN could not run a primitive");
  }

 private:
  void add(int role, const dnnl::memory::desc& desc) {
    memories_.emplace_back(desc, context_->engine, nullptr);
    arguments_.push_back({role, memories_.back().get()});
  }

  Context* context_ = nullptr;
  dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
  bool has_scratchpad_ = false;
};

inline dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

}  // namespace syncnorm::cpu
