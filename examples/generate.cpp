// Streams one answer: generate [PROMPT [MODEL]]
#include <qwill/llm.h>

#include <iostream>

int main(int argc, char** argv) try {
  qwill::LlmOptions options;
  if (argc > 2) options.model = argv[2];  // a folder or a hub name; the built-in model without one
  const auto llm = qwill::Llm::open(options);

  qwill::GenerateRequest request;
  request.prompt = llm->encode(argc > 1 ? argv[1] : "Once upon a time");
  request.sampling = llm->default_sampling();
  request.sampling.max_tokens = 100;
  const qwill::GenerateResult result =
      llm->generate(request, [](const qwill::AnswerPart& part) { std::cout << part.text << std::flush; });
  std::cout << "\n";
  std::cerr << result.token_ids.size() << " tokens on " << llm->device_name() << ", the first after "
            << result.ttft_s * 1000 << " ms\n";
} catch (const qwill::Error& e) {
  std::cerr << e.what() << "\n";
  return 1;
}
