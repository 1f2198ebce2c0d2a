// Undo, without limit and without a line of code for any single command: a snapshot before each.
//
// A little editor whose document is a file of a volume. Going back is a rollback: it costs the same
// for one letter and for a replaced chapter, and it can itself be undone.
#include <string>
#include <string_view>
#include <vector>

#include "cow/volume.h"
#include "expect.h"

namespace {

class Editor {
 public:
  explicit Editor(cow::Volume& volume)
      : volume_(volume), document_(Must(volume.CreateFile("/document"))) {}

  void Append(std::string_view text) {
    Keep();
    Must(document_.Write(document_.size(), std::as_bytes(std::span(text))));
  }

  void Cut(uint64_t size) {
    Keep();
    Must(document_.Truncate(size));
  }

  void Undo() {
    if (past_.empty()) return;
    // What is replaced is kept by the rollback, under a name of its own: the way forward.
    future_.push_back(Must(volume_.RollBack(past_.back())));
    Must(past_.back().Destroy());
    past_.pop_back();
  }

  void Redo() {
    if (future_.empty()) return;
    past_.push_back(Must(volume_.RollBack(future_.back())));
    Must(future_.back().Destroy());
    future_.pop_back();
  }

  std::string Text() const {
    std::string text(document_.size(), '\0');
    Must(document_.Read(0, std::as_writable_bytes(std::span(text))));
    return text;
  }

 private:
  void Keep() {
    for (cow::Snapshot& undone : future_) Must(undone.Destroy());
    future_.clear();
    past_.push_back(Must(document_.TakeSnapshot("step-" + std::to_string(++steps_))));
  }

  cow::Volume& volume_;
  cow::File document_;
  std::vector<cow::Snapshot> past_;
  std::vector<cow::Snapshot> future_;
  int steps_ = 0;
};

}  // namespace

int main() {
  cow::Volume volume = Must(cow::Volume::InMemory());
  Editor editor(volume);
  editor.Append("To be");
  editor.Append(", or not to be");
  editor.Cut(5);
  Expect(editor.Text() == "To be", "a cut document is short");

  editor.Undo();
  Expect(editor.Text() == "To be, or not to be", "undo brings back what was cut");
  editor.Undo();
  editor.Undo();
  Expect(editor.Text().empty(), "undo goes back to the beginning");
  editor.Undo();
  Expect(editor.Text().empty(), "and no further");

  editor.Redo();
  editor.Redo();
  Expect(editor.Text() == "To be, or not to be", "redo goes forward again");
  editor.Append(", that is the question");
  editor.Redo();
  Expect(editor.Text() == "To be, or not to be, that is the question", "a change ends redo");
  std::cout << editor.Text() << "\n";
}
