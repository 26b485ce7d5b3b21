// Stops a sequence, keeps its journal in a file, and continues it as if nothing had happened: resume [JOURNAL]
#include <qwill/llm.h>

#include <fstream>
#include <future>
#include <iostream>
#include <memory>
#include <sstream>

// Runs a request until it ends, or about `num_tokens` more are there; its output grows.
void run(qwill::Llm& llm, qwill::Request& request, int num_tokens) {
  const auto ended = std::make_shared<std::promise<void>>();
  llm.engine().submit(request, [&, ended](qwill::TokenEvent&& event) {  // on the engine's thread
    if (event.draw) request.output.push_back(event.draw->id);
    if (event.draw && --num_tokens == 0) llm.cancel(event.sequence);
    if (event.finish) ended->set_value();
  });
  ended->get_future().wait();
}

int main(int argc, char** argv) try {
  const std::string path = argc > 1 ? argv[1] : "journal.json";
  qwill::Request request;
  std::string whole;
  {
    const auto llm = qwill::Llm::open({});
    request.prompt = llm->encode("Once upon a time");
    request.sampling.temperature = 0.8;
    request.sampling.seed = 7;
    request.sampling.max_tokens = 100;
    qwill::Request uninterrupted = request;
    run(*llm, uninterrupted, 1000);
    whole = llm->decode(uninterrupted.output);
    run(*llm, request, 40);
    std::ofstream(path) << request.to_json() << "\n";
    std::cout << llm->decode(request.output) << "\n--- stopped after " << request.output.size() << " tokens ---\n";
  }
  // Another process could do the rest.
  std::stringstream journal;
  journal << std::ifstream(path).rdbuf();
  request = qwill::Request::from_json(journal.str());
  const auto llm = qwill::Llm::open({});
  run(*llm, request, 1000);
  const std::string resumed = llm->decode(request.output);
  std::cout << resumed << "\n--- " << (resumed == whole ? "the same" : "NOT the same") << " as without a stop ---\n";
  return resumed == whole ? 0 : 1;
} catch (const qwill::Error& e) {
  std::cerr << e.what() << "\n";
  return 1;
}
