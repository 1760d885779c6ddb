/* The clock by which Cairn measures how long things take. */
#ifndef CAIRN_CLOCK_H
#define CAIRN_CLOCK_H

/* Seconds since some moment of the past; nobody can set it back. */
double cairn_clock_now(void);

#endif
