-- result_collection=last_statement_first_row_scalar
copy (select 'out 1') to '/dev/stdout' (format csv, header false);
copy (select 'err 1') to '/dev/stderr' (format csv, header false);
copy (select 'out 2') to '/dev/stdout' (format csv, header false);
copy (select 'err 2') to '/dev/stderr' (format csv, header false);
copy (select 'out 3') to '/dev/stdout' (format csv, header false);
copy (select 'err 3') to '/dev/stderr' (format csv, header false);
select 'done'
