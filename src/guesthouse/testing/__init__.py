"""What tests of guests need: builders, mocks and clocks."""
