// Hundreds of requests at once: many samples of one prompt, one that is cancelled, and one with a deadline.
#include <qwill/llm.h>

#include <chrono>
#include <iostream>
#include <set>
#include <vector>

int main() try {
  qwill::LlmOptions options;
  options.max_sequences = 64;  // run at once; the others wait
  const auto llm = qwill::Llm::open(options);

  qwill::GenerateRequest request;
  request.prompt = llm->encode("Once upon a time");
  request.sampling.temperature = 0.8;
  request.sampling.seed = 7;
  request.sampling.max_tokens = 30;
  std::vector<qwill::Llm::Job> jobs;
  for (uint32_t choice = 0; choice < 400; ++choice) {
    request.sampling.choice = choice;  // which of the answers to one prompt: each draws by itself
    jobs.push_back(llm->submit(request));
  }

  qwill::GenerateRequest endless = request;
  endless.ignore_eos = true;
  endless.sampling.max_tokens = 1000;
  qwill::Llm::Job cancelled = llm->submit(endless);
  llm->cancel(cancelled.sequence);
  endless.priority = -1;  // before all the others
  endless.deadline = qwill::Request::Clock::now() + std::chrono::milliseconds(50);
  qwill::Llm::Job late = llm->submit(endless);

  std::set<std::string> different;
  size_t num_tokens = 0;
  for (qwill::Llm::Job& job : jobs) {
    const qwill::GenerateResult result = job.result.get();
    num_tokens += result.token_ids.size();
    different.insert(result.text);
  }
  std::cout << jobs.size() << " answers of " << num_tokens << " tokens, " << different.size() << " different ones\n";
  for (qwill::Llm::Job* job : {&cancelled, &late}) {
    const qwill::GenerateResult result = job->result.get();
    std::cout << "ended by " << qwill::finish_name(result.finish) << " after " << result.token_ids.size()
              << " tokens\n";
  }
  const qwill::EngineStats stats = llm->engine().stats();
  std::cout << stats.steps << " steps, " << stats.prefix_hit_tokens << " of " << stats.prompt_tokens
            << " prompt tokens were in the cache\n";
} catch (const qwill::Error& e) {
  std::cerr << e.what() << "\n";
  return 1;
}
