/* build: faasm
 * The C++ helpers of the header; the input says which part to run. */
#include "faasm.h"

int main() {
    std::string what = faasm::getStringInput("write");
    if (what == "write") {
        faasm::AsyncArray<double> numbers("numbers", 4);
        numbers.zero();
        numbers[1] = 1.5;
        numbers[3] = 3.5;
        numbers.push();
        uint8_t mask[32] = {0};
        faasm::maskDouble(mask, 2);
        faasm::setStringOutput(std::string((char *)mask, sizeof mask));
    } else if (what == "read") {
        faasm::AsyncArray<double> numbers("numbers", 4);
        numbers.pull();
        double sum = 0;
        for (size_t i = 0; i < numbers.count(); i++) sum += numbers.at(i);
        faasm::setStringOutput(std::to_string(sum));
    } else {
        double start = faasm::wallClock();
        int number = faasm::randomInteger(-3, 3);
        bool fine = number >= -3 && number <= 3 && faasm::wallClock() >= start && faasm::readFile("/absent").empty();
        faasm::setStringOutput((fine ? "fine " : "odd ") + faasm::readFile("/etc/hosts").substr(0, 9));
    }
    return 0;
}
