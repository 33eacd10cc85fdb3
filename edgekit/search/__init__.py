"""The search: pure, sans I/O. It asks by questions, is told answers, and never touches a device itself."""
